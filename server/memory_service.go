package server

import (
	"cmp"
	"context"

	agentv1 "github.com/runwire/runwire/gen/agent/v1"
	"github.com/runwire/runwire/store"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// memoryService translates between the wire and what is remembered of users.
type memoryService struct {
	agentv1.UnimplementedMemoryServiceServer

	memories store.Memories
	most     int // of a user's memories; 0 is any number
}

func newMemoryService(memories store.Memories, most int) *memoryService {
	return &memoryService{memories: memories, most: most}
}

// defaultFound is how many memories are found when the request leaves it open.
const defaultFound = 10

// SaveMemory implements agentv1.MemoryServiceServer.
func (s *memoryService) SaveMemory(ctx context.Context, req *agentv1.SaveMemoryRequest) (*agentv1.SaveMemoryResponse, error) {
	id, err := memoryID("")
	if err != nil {
		return nil, err
	}
	saved, err := s.memories.SaveMemory(ctx, store.Memory{
		Tenant: tenant(ctx), ID: id, UserID: req.GetUserId(), SessionID: req.GetSessionId(), Text: req.GetText(),
	}, s.most)
	if err != nil {
		return nil, err
	}
	return &agentv1.SaveMemoryResponse{Memory: memoryOf(&saved)}, nil
}

// SearchMemories implements agentv1.MemoryServiceServer.
func (s *memoryService) SearchMemories(ctx context.Context, req *agentv1.SearchMemoriesRequest) (*agentv1.SearchMemoriesResponse, error) {
	limit := cmp.Or(int(req.GetLimit()), defaultFound)
	found, err := s.memories.SearchMemories(ctx, tenant(ctx), req.GetUserId(), req.GetQuery(), limit)
	if err != nil {
		return nil, err
	}
	return &agentv1.SearchMemoriesResponse{Memories: memoriesOf(found)}, nil
}

// ListMemories implements agentv1.MemoryServiceServer.
func (s *memoryService) ListMemories(ctx context.Context, req *agentv1.ListMemoriesRequest) (*agentv1.ListMemoriesResponse, error) {
	page := store.Page{Size: int(req.GetPageSize()), Token: req.GetPageToken()}
	listed, next, err := s.memories.ListMemories(ctx, tenant(ctx), req.GetUserId(), page)
	if err != nil {
		return nil, err
	}
	return &agentv1.ListMemoriesResponse{Memories: memoriesOf(listed), NextPageToken: next}, nil
}

// DeleteMemory implements agentv1.MemoryServiceServer.
func (s *memoryService) DeleteMemory(ctx context.Context, req *agentv1.DeleteMemoryRequest) (*agentv1.DeleteMemoryResponse, error) {
	if err := s.memories.DeleteMemory(ctx, tenant(ctx), req.GetMemoryId()); err != nil {
		return nil, named("memory", req.GetMemoryId(), err)
	}
	return &agentv1.DeleteMemoryResponse{}, nil
}

func memoriesOf(memories []store.Memory) []*agentv1.Memory {
	all := make([]*agentv1.Memory, len(memories))
	for i := range memories {
		all[i] = memoryOf(&memories[i])
	}
	return all
}

func memoryOf(m *store.Memory) *agentv1.Memory {
	return &agentv1.Memory{
		MemoryId:   m.ID,
		UserId:     m.UserID,
		SessionId:  m.SessionID,
		Text:       m.Text,
		CreateTime: timestamppb.New(m.CreateTime),
	}
}

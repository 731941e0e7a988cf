package server

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"

	"github.com/runwire/runwire/agent/model"
	agentv1 "github.com/runwire/runwire/gen/agent/v1"
	"github.com/runwire/runwire/interceptors"
	"github.com/runwire/runwire/sessions"
	"github.com/runwire/runwire/store"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// sessionService translates between the wire and what was said.
type sessionService struct {
	agentv1.UnimplementedSessionServiceServer

	sessions store.Conversations
}

func newSessionService(sessions store.Conversations) *sessionService {
	return &sessionService{sessions: sessions}
}

// defaultMessages is how many messages a page has when the request leaves it open.
const defaultMessages = 50

// ListSessions implements agentv1.SessionServiceServer.
func (s *sessionService) ListSessions(ctx context.Context, req *agentv1.ListSessionsRequest) (*agentv1.ListSessionsResponse, error) {
	page := store.Page{Size: int(req.GetPageSize()), Token: req.GetPageToken()}
	found, next, err := s.sessions.ListSessions(ctx, tenant(ctx), req.GetUserId(), page)
	if err != nil {
		return nil, err
	}
	response := &agentv1.ListSessionsResponse{NextPageToken: next}
	for _, session := range found {
		response.Sessions = append(response.Sessions, sessionOf(session))
	}
	return response, nil
}

// GetSession implements agentv1.SessionServiceServer.
func (s *sessionService) GetSession(ctx context.Context, req *agentv1.GetSessionRequest) (*agentv1.GetSessionResponse, error) {
	session, err := s.session(ctx, req.GetSessionId())
	if err != nil {
		return nil, err
	}
	return &agentv1.GetSessionResponse{Session: sessionOf(session)}, nil
}

// ListMessages implements agentv1.SessionServiceServer.
func (s *sessionService) ListMessages(ctx context.Context, req *agentv1.ListMessagesRequest) (*agentv1.ListMessagesResponse, error) {
	session, err := s.session(ctx, req.GetSessionId())
	if err != nil {
		return nil, err
	}
	after, err := positionOf(req.GetPageToken(), session)
	if err != nil {
		return nil, err
	}
	size := int(req.GetPageSize())
	if size == 0 {
		size = defaultMessages
	}
	// One more, by which one sees whether there is another page.
	found, err := s.sessions.ListMessages(ctx, session.Tenant, session.ID, after, size+1)
	if err != nil {
		return nil, err
	}
	response := &agentv1.ListMessagesResponse{}
	if len(found) > size {
		found = found[:size]
		response.NextPageToken = positionToken(session, found[size-1].Position)
	}
	for _, message := range found {
		said, err := messageOf(message)
		if err != nil {
			return nil, err
		}
		response.Messages = append(response.Messages, said)
	}
	return response, nil
}

// DeleteSession implements agentv1.SessionServiceServer.
func (s *sessionService) DeleteSession(ctx context.Context, req *agentv1.DeleteSessionRequest) (*agentv1.DeleteSessionResponse, error) {
	if err := s.sessions.DeleteSession(ctx, tenant(ctx), req.GetSessionId()); err != nil {
		return nil, named("session", req.GetSessionId(), err)
	}
	return &agentv1.DeleteSessionResponse{}, nil
}

func (s *sessionService) session(ctx context.Context, id string) (store.Session, error) {
	session, err := s.sessions.GetSession(ctx, tenant(ctx), id)
	return session, named("session", id, err)
}

// tenant is whose data the caller sees; behind the chain there is always one.
func tenant(ctx context.Context) string {
	caller, _ := interceptors.Caller(ctx)
	return caller.Tenant
}

// keyName is the API key of who calls; empty for none.
func keyName(ctx context.Context) string {
	caller, _ := interceptors.Caller(ctx)
	return caller.Key
}

func sessionOf(s store.Session) *agentv1.Session {
	return &agentv1.Session{
		SessionId:    s.ID,
		UserId:       s.UserID,
		MessageCount: s.Messages,
		CreateTime:   timestamppb.New(s.CreateTime),
		UpdateTime:   timestamppb.New(s.UpdateTime),
	}
}

func messageOf(m store.Message) (*agentv1.SessionMessage, error) {
	said, err := sessions.Decode(m.Payload)
	if err != nil {
		return nil, fmt.Errorf("decode message %d: %w", m.Position, err)
	}
	message := &agentv1.SessionMessage{
		Position:   m.Position,
		Role:       roleOf(said.Role),
		Text:       said.Text,
		ToolCallId: said.ToolCallID,
		RunId:      m.RunID,
		CreateTime: timestamppb.New(m.CreateTime),
	}
	for _, call := range said.ToolCalls {
		message.ToolCalls = append(message.ToolCalls, &agentv1.SessionToolCall{
			ToolCallId: call.ID, Tool: call.Name, ArgumentsJson: call.Arguments,
		})
	}
	return message, nil
}

func roleOf(role model.Role) agentv1.MessageRole {
	switch role {
	case model.RoleUser:
		return agentv1.MessageRole_MESSAGE_ROLE_USER
	case model.RoleAssistant:
		return agentv1.MessageRole_MESSAGE_ROLE_ASSISTANT
	case model.RoleTool:
		return agentv1.MessageRole_MESSAGE_ROLE_TOOL
	default:
		return agentv1.MessageRole_MESSAGE_ROLE_UNSPECIFIED
	}
}

// positionVersion is a token's first byte, should what follows ever change: the
// position in eight bytes and a checksum in four.
const positionVersion = 3

// positionToken is the position at which a page of the session ended, as
// callers see it. The checksum refuses it for another session; it is no secret.
func positionToken(session store.Session, position int64) string {
	raw := binary.BigEndian.AppendUint64([]byte{positionVersion}, uint64(position)) //nolint:gosec // positions are positive
	sum := crc32.ChecksumIEEE(fmt.Appendf(nil, "%q %q %d", session.Tenant, session.ID, position))
	return base64.RawURLEncoding.EncodeToString(binary.BigEndian.AppendUint32(raw, sum))
}

// positionOf reads a token; an empty one is the begin. A page of the session has
// ended at one of its messages: what else a token says is refused.
func positionOf(token string, session store.Session) (int64, error) {
	if token == "" {
		return 0, nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(raw) != 1+8+4 {
		return 0, store.ErrPageToken
	}
	position := binary.BigEndian.Uint64(raw[1:])
	if position == 0 || position > math.MaxInt64 || int64(position) > session.Messages ||
		positionToken(session, int64(position)) != token {
		return 0, store.ErrPageToken
	}
	return int64(position), nil
}

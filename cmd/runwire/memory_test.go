package main

import (
	"strings"
	"testing"
	"time"

	agentv1 "github.com/runwire/runwire/gen/agent/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

func TestMemories(t *testing.T) {
	t.Parallel()
	ago := func(d time.Duration) *timestamppb.Timestamp { return timestamppb.New(time.Now().Add(-d)) }
	tea := &agentv1.Memory{MemoryId: "m1", UserId: "ann", SessionId: "chat", Text: "Ann likes\n\x1b[2J tea.", CreateTime: ago(3 * time.Minute)}
	cat := &agentv1.Memory{MemoryId: "mem_2", UserId: "ann", Text: "Ann has a cat.", CreateTime: ago(50 * time.Hour)}
	const table = `ID     SAVED  SESSION  NOTE
m1     3m     chat     Ann likes [2J tea.
mem_2  2d     -        Ann has a cat.
`
	save := &agentv1.SaveMemoryRequest{UserId: "ann", Text: "Ann has a cat.", SessionId: "chat"}
	for _, e := range []exchange{
		{
			[]string{"memory", "save", "Ann has a cat.", "--user", "ann", "--session", "chat"},
			"SaveMemory", save, &agentv1.SaveMemoryResponse{Memory: cat}, "mem_2\n",
		},
		{
			[]string{"memory", "save", "Ann has a cat.", "--user", "ann", "--session", "chat", "--json"},
			"SaveMemory", save,
			&agentv1.SaveMemoryResponse{Memory: &agentv1.Memory{MemoryId: "mem_2", Text: "Ann has a cat."}},
			`{"memoryId":"mem_2","text":"Ann has a cat."}` + "\n",
		},
		{
			[]string{"memory", "search", "tea or cat", "--user", "ann"},
			"SearchMemories", &agentv1.SearchMemoriesRequest{UserId: "ann", Query: "tea or cat", Limit: 10},
			&agentv1.SearchMemoriesResponse{Memories: []*agentv1.Memory{tea, cat}}, table,
		},
		{
			[]string{"memory", "search", "dog", "--user", "ann", "--limit", "3"},
			"SearchMemories", &agentv1.SearchMemoriesRequest{UserId: "ann", Query: "dog", Limit: 3},
			&agentv1.SearchMemoriesResponse{}, "ID  SAVED  SESSION  NOTE\n",
		},
		{
			[]string{"memory", "search", "dog", "--user", "ann", "--json"},
			"SearchMemories", &agentv1.SearchMemoriesRequest{UserId: "ann", Query: "dog", Limit: 10},
			&agentv1.SearchMemoriesResponse{Memories: []*agentv1.Memory{{MemoryId: "m3"}}}, `{"memoryId":"m3"}` + "\n",
		},
		{
			[]string{"memory", "list", "--user", "ann"},
			"ListMemories", &agentv1.ListMemoriesRequest{UserId: "ann", PageSize: 50},
			&agentv1.ListMemoriesResponse{Memories: []*agentv1.Memory{tea, cat}}, table,
		},
		{
			[]string{"memory", "list", "--user", "ann", "--limit", "1", "--json"},
			"ListMemories", &agentv1.ListMemoriesRequest{UserId: "ann", PageSize: 1},
			&agentv1.ListMemoriesResponse{Memories: []*agentv1.Memory{{MemoryId: "m3"}}, NextPageToken: "more"}, `{"memoryId":"m3"}` + "\n",
		},
		{[]string{"memory", "delete", "m1"}, "DeleteMemory", &agentv1.DeleteMemoryRequest{MemoryId: "m1"}, &agentv1.DeleteMemoryResponse{}, "memory m1 is deleted\n"},
		{[]string{"memory", "delete", "m1", "--json"}, "DeleteMemory", &agentv1.DeleteMemoryRequest{MemoryId: "m1"}, &agentv1.DeleteMemoryResponse{}, "{}\n"},
	} {
		e.check(t)
	}
}

func TestANoteIsReadFromStandardInput(t *testing.T) {
	t.Parallel()
	s := &standIn{unary: map[string]answer{"SaveMemory": answers(&agentv1.SaveMemoryResponse{Memory: &agentv1.Memory{MemoryId: "m1"}})}}
	code, out, said := runwire(t, "Ann has a cat.\n", s.command(t, "memory", "save", "-", "--user", "ann")...)
	if code != exitOK || out != "m1\n" || said != "" {
		t.Errorf("exit code %d, out %q, err %q", code, out, said)
	}
	s.mustAsk(t, &agentv1.SaveMemoryRequest{UserId: "ann", Text: "Ann has a cat."})
}

func TestANoteThatIsRefusedIsToldWhy(t *testing.T) {
	t.Parallel()
	s := &standIn{unary: map[string]answer{"SaveMemory": func(proto.Message) (proto.Message, error) {
		return nil, status.Error(codes.FailedPrecondition, "this user has too many: delete some")
	}}}
	code, out, said := s.run(t, "memory", "save", "Ann has a cat.")
	if code != exitFailed || out != "" || !strings.Contains(said, "delete some") {
		t.Errorf("exit code %d, out %q, err %q", code, out, said)
	}
}

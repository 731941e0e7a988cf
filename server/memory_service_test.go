package server

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	agentv1 "github.com/runwire/runwire/gen/agent/v1"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/testing/protocmp"
)

// note saves a note about a user of the tenant acme.
func (r *records) note(t *testing.T, user, text string) *agentv1.Memory {
	t.Helper()
	response, err := r.memories.SaveMemory(with(t, "acme run"), &agentv1.SaveMemoryRequest{UserId: user, Text: text, SessionId: "chat"})
	if err != nil {
		t.Fatal(err)
	}
	return response.GetMemory()
}

func TestMemoriesAreSavedFoundListedAndDeleted(t *testing.T) {
	t.Parallel()
	r := keep(t)
	tea, cat := r.note(t, "ann", "Ann likes green tea."), r.note(t, "ann", "Ann has a cat.")
	r.note(t, "bob", "Bob likes tea.")
	if !strings.HasPrefix(tea.GetMemoryId(), "mem_") || tea.GetCreateTime() == nil {
		t.Errorf("saved %v", tea)
	}
	want := &agentv1.Memory{
		MemoryId: tea.GetMemoryId(), UserId: "ann", SessionId: "chat", Text: "Ann likes green tea.", CreateTime: tea.GetCreateTime(),
	}
	if diff := cmp.Diff(want, tea, protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
	for query, want := range map[string][]*agentv1.Memory{
		"Which tea does ann like?": {tea, cat}, "cat": {cat}, "bob": nil, `"tea" NOT ann*`: {tea, cat}, "-": nil,
	} {
		found, err := r.memories.SearchMemories(with(t, "acme run"), &agentv1.SearchMemoriesRequest{UserId: "ann", Query: query})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(&agentv1.SearchMemoriesResponse{Memories: want}, found, protocmp.Transform()); diff != "" {
			t.Errorf("%q: %s", query, diff)
		}
	}
	one, err := r.memories.SearchMemories(with(t, "acme run"), &agentv1.SearchMemoriesRequest{UserId: "ann", Query: "ann", Limit: 1})
	if err != nil || len(one.GetMemories()) != 1 {
		t.Errorf("one memory: %v, %v", one, err)
	}
	var listed []*agentv1.Memory
	for token := ""; ; {
		page, err := r.memories.ListMemories(with(t, "acme run"), &agentv1.ListMemoriesRequest{UserId: "ann", PageSize: 1, PageToken: token})
		if err != nil {
			t.Fatal(err)
		}
		listed = append(listed, page.GetMemories()...)
		if token = page.GetNextPageToken(); token == "" {
			break
		}
	}
	if diff := cmp.Diff([]*agentv1.Memory{cat, tea}, listed, protocmp.Transform()); diff != "" {
		t.Errorf("listed: %s", diff)
	}
	if _, err := r.memories.DeleteMemory(with(t, "acme run"), &agentv1.DeleteMemoryRequest{MemoryId: cat.GetMemoryId()}); err != nil {
		t.Error(err)
	}
	if _, err := r.sessions.DeleteSession(with(t, "acme run"), &agentv1.DeleteSessionRequest{SessionId: "chat"}); err != nil {
		t.Error(err)
	}
	for _, user := range []string{"ann", "bob"} {
		left, err := r.memories.ListMemories(with(t, "acme run"), &agentv1.ListMemoriesRequest{UserId: user})
		if err != nil || len(left.GetMemories()) > 0 {
			t.Errorf("%s has left: %v, %v", user, left, err)
		}
	}
}

func TestAnotherTenantsMemoryDoesNotExist(t *testing.T) {
	t.Parallel()
	r := keep(t)
	id := r.note(t, "ann", "Ann likes tea.").GetMemoryId()
	found, err := r.memories.SearchMemories(with(t, "rival run"), &agentv1.SearchMemoriesRequest{UserId: "ann", Query: "tea"})
	if err != nil || len(found.GetMemories()) > 0 {
		t.Errorf("found %v, %v", found, err)
	}
	listed, err := r.memories.ListMemories(with(t, "rival run"), &agentv1.ListMemoriesRequest{UserId: "ann"})
	if err != nil || len(listed.GetMemories()) > 0 {
		t.Errorf("listed %v, %v", listed, err)
	}
	_, err = r.memories.DeleteMemory(with(t, "rival run"), &agentv1.DeleteMemoryRequest{MemoryId: id})
	wantError(t, err, codes.NotFound, "memory", &errdetails.ResourceInfo{ResourceType: "memory", ResourceName: id})
	_, err = r.memories.ListMemories(with(t, "acme admin"), &agentv1.ListMemoriesRequest{UserId: "ann"})
	wantError(t, err, codes.PermissionDenied, "`run`",
		&errdetails.ErrorInfo{Reason: "SCOPE_MISSING", Domain: "runwire", Metadata: map[string]string{"scope": "run"}})
	_, err = r.memories.ListMemories(with(t, "acme run"), &agentv1.ListMemoriesRequest{UserId: "ann", PageToken: "forged"})
	wantError(t, err, codes.InvalidArgument, "page_token", wrong("page_token", wrongToken))
}

func TestMemoriesThatCannotBeKeptAreRefused(t *testing.T) {
	t.Parallel()
	r := keep(t)
	for _, req := range []*agentv1.SaveMemoryRequest{
		{UserId: "ann"}, {Text: "a"}, {UserId: "ann", Text: strings.Repeat("é", 4001)}, {UserId: "ann", Text: "a\x00"},
	} {
		if _, err := r.memories.SaveMemory(with(t, "acme run"), req); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%.40v: %v", req, err)
		}
	}
	r.note(t, "ann", strings.Repeat("é", 4000))
}

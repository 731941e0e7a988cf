package server

import (
	"encoding/base64"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/runwire/runwire/agent/model"
	agentv1 "github.com/runwire/runwire/gen/agent/v1"
	"github.com/runwire/runwire/sessions"
	"github.com/runwire/runwire/store"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/testing/protocmp"
)

// say adds a turn at the end of a session.
func (r *records) say(t *testing.T, tenant, session, user string, said ...model.Message) {
	t.Helper()
	turn := store.Turn{Tenant: tenant, SessionID: session, UserID: user, RunID: "run_1"}
	if found, err := r.GetSession(t.Context(), tenant, session); err == nil {
		turn.Position = found.Messages
	}
	for _, message := range said {
		payload, err := sessions.Encode(message)
		if err != nil {
			t.Fatal(err)
		}
		turn.Messages = append(turn.Messages, store.Message{Tokens: 1, Payload: payload})
	}
	if err := r.AppendTurn(t.Context(), turn); err != nil {
		t.Fatal(err)
	}
}

// count adds a message for each number of a range, which it says.
func (r *records) count(t *testing.T, from, to int) {
	t.Helper()
	var said []model.Message
	for i := from; i <= to; i++ {
		said = append(said, model.Message{Role: model.RoleUser, Text: fmt.Sprint(i)})
	}
	r.say(t, "acme", "chat", "ann", said...)
}

func TestMessagesAreShownAsTheyWereSaid(t *testing.T) {
	t.Parallel()
	r := keep(t)
	r.say(t, "acme", "chat", "ann",
		model.Message{Role: model.RoleUser, Text: "What is 6*7?"},
		model.Message{Role: model.RoleAssistant, ToolCalls: []model.ToolCall{
			{ID: "c1", Name: "calculator", Arguments: `{"expression":"6*7"}`}, {ID: "c2", Name: "current_time", Arguments: `{}`},
		}},
		model.Message{Role: model.RoleTool, Text: "42", ToolCallID: "c1"},
		model.Message{Role: model.RoleAssistant, Text: "It is 42."},
		model.Message{Role: "narrator", Text: "…"},
	)
	session, err := r.sessions.GetSession(with(t, "acme run"), &agentv1.GetSessionRequest{SessionId: "chat"})
	if err != nil {
		t.Fatal(err)
	}
	wantSession := &agentv1.Session{SessionId: "chat", UserId: "ann", MessageCount: 5}
	times := protocmp.IgnoreFields(&agentv1.Session{}, "create_time", "update_time")
	if diff := cmp.Diff(wantSession, session.GetSession(), protocmp.Transform(), times); diff != "" {
		t.Error(diff)
	}
	at := session.GetSession().GetUpdateTime()
	if !at.AsTime().After(march) || session.GetSession().GetCreateTime().AsTime().After(at.AsTime()) {
		t.Errorf("made at %v, written to at %v", session.GetSession().GetCreateTime(), at)
	}
	response, err := r.sessions.ListMessages(with(t, "acme run"), &agentv1.ListMessagesRequest{SessionId: "chat"})
	if err != nil {
		t.Fatal(err)
	}
	want := []*agentv1.SessionMessage{
		{Role: agentv1.MessageRole_MESSAGE_ROLE_USER, Text: "What is 6*7?"},
		{Role: agentv1.MessageRole_MESSAGE_ROLE_ASSISTANT, ToolCalls: []*agentv1.SessionToolCall{
			{ToolCallId: "c1", Tool: "calculator", ArgumentsJson: `{"expression":"6*7"}`},
			{ToolCallId: "c2", Tool: "current_time", ArgumentsJson: `{}`},
		}},
		{Role: agentv1.MessageRole_MESSAGE_ROLE_TOOL, Text: "42", ToolCallId: "c1"},
		{Role: agentv1.MessageRole_MESSAGE_ROLE_ASSISTANT, Text: "It is 42."},
		{Text: "…"},
	}
	for i, message := range want {
		message.Position, message.RunId, message.CreateTime = int64(i+1), "run_1", at
	}
	if diff := cmp.Diff(&agentv1.ListMessagesResponse{Messages: want}, response, protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
}

func TestMessagesComePageByPageWhileMoreArrive(t *testing.T) {
	t.Parallel()
	r := keep(t)
	r.count(t, 1, 6)
	var got []string
	var tokens []string
	request := &agentv1.ListMessagesRequest{SessionId: "chat", PageSize: 2}
	for more := true; more; more = request.GetPageToken() != "" {
		response, err := r.sessions.ListMessages(with(t, "acme run"), request)
		if err != nil {
			t.Fatal(err)
		}
		page := ""
		for _, message := range response.GetMessages() {
			page += message.GetText()
		}
		got = append(got, page)
		tokens = append(tokens, response.GetNextPageToken())
		request.PageToken = response.GetNextPageToken()
		if len(got) <= 2 {
			r.count(t, 6+len(got), 6+len(got)) // 7, 8: after all that the page has seen
		}
	}
	if diff := cmp.Diff([]string{"12", "34", "56", "78"}, got); diff != "" {
		t.Error(diff)
	}
	// The first page again, and the one after it: a token stays good.
	again, err := r.sessions.ListMessages(with(t, "acme run"), &agentv1.ListMessagesRequest{
		SessionId: "chat", PageSize: 1000, PageToken: tokens[0],
	})
	if err != nil || len(again.GetMessages()) != 6 || again.GetNextPageToken() != "" {
		t.Errorf("after the first page: %v, %v", again, err)
	}
}

func TestAPageHasFiftyMessagesUnlessToldOtherwise(t *testing.T) {
	t.Parallel()
	r := keep(t)
	r.count(t, 1, 49)
	for _, last := range []int{50, 51} {
		r.count(t, last, last)
		response, err := r.sessions.ListMessages(with(t, "acme run"), &agentv1.ListMessagesRequest{SessionId: "chat"})
		if err != nil || len(response.GetMessages()) != 50 || (response.GetNextPageToken() != "") != (last > 50) {
			t.Errorf("of %d messages: %d, next %q, %v", last, len(response.GetMessages()), response.GetNextPageToken(), err)
		}
	}
}

func TestForgedPageTokensAreRefused(t *testing.T) {
	t.Parallel()
	r := keep(t)
	r.count(t, 1, 3)
	r.say(t, "acme", "other", "ann", model.Message{Role: model.RoleUser, Text: "Hello"})
	encode := func(raw ...byte) string { return base64.RawURLEncoding.EncodeToString(raw) }
	chat := store.Session{Tenant: "acme", ID: "chat"}
	good := positionToken(chat, 3)
	list, err := r.sessions.ListSessions(with(t, "acme run"), &agentv1.ListSessionsRequest{UserId: "ann", PageSize: 1})
	if err != nil || list.GetNextPageToken() == "" {
		t.Fatalf("%v, %v", list, err)
	}
	for name, token := range map[string]string{
		"no token":           "next",
		"not base64":         "!!!",
		"padded":             good + "=",
		"with a line end":    good[:4] + "\n" + good[4:],
		"cut":                good[:8],
		"longer":             good + "AA",
		"without checksum":   encode(1, 0, 0, 0, 0, 0, 0, 0, 3),
		"another version":    encode(1, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0),
		"of another session": positionToken(store.Session{Tenant: "acme", ID: "other"}, 3),
		"of another tenant":  positionToken(store.Session{Tenant: "rival", ID: "chat"}, 3),
		"of the begin":       positionToken(chat, 0),
		"before the begin":   positionToken(chat, -1),
		"after the end":      positionToken(chat, 4),
		"of another listing": list.GetNextPageToken(),
	} {
		request := &agentv1.ListMessagesRequest{SessionId: "chat", PageToken: token}
		_, err := r.sessions.ListMessages(with(t, "acme run"), request)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wantError(t, err, codes.InvalidArgument, "page_token", wrong("page_token", wrongToken))
		})
	}
	response, err := r.sessions.ListMessages(with(t, "acme run"), &agentv1.ListMessagesRequest{SessionId: "chat", PageToken: good})
	if err != nil || len(response.GetMessages()) != 0 {
		t.Errorf("the last position: %v, %v", response, err)
	}
	for _, token := range []string{"next", good} {
		_, err = r.sessions.ListSessions(with(t, "acme run"), &agentv1.ListSessionsRequest{UserId: "ann", PageToken: token})
		wantError(t, err, codes.InvalidArgument, "page_token", wrong("page_token", wrongToken))
	}
}

func TestSessionsAreListedByUserPageByPage(t *testing.T) {
	t.Parallel()
	r := keep(t)
	hello := model.Message{Role: model.RoleUser, Text: "Hello"}
	for _, id := range []string{"s1", "s2", "s3"} {
		r.say(t, "acme", id, "ann", hello)
	}
	r.say(t, "acme", "bobs", "bob", hello)
	r.say(t, "rival", "s1", "ann", hello)
	var got []string
	request := &agentv1.ListSessionsRequest{UserId: "ann", PageSize: 2}
	for {
		response, err := r.sessions.ListSessions(with(t, "acme run"), request)
		if err != nil {
			t.Fatal(err)
		}
		for _, session := range response.GetSessions() {
			got = append(got, session.GetSessionId()+" of "+session.GetUserId())
		}
		if len(got) == 2 {
			r.say(t, "acme", "s4", "ann", hello) // newer than all that was seen
		}
		if request.PageToken = response.GetNextPageToken(); request.GetPageToken() == "" {
			break
		}
	}
	if diff := cmp.Diff([]string{"s3 of ann", "s2 of ann", "s1 of ann"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestTenantsDoNotSeeEachOthersSessions(t *testing.T) {
	t.Parallel()
	r := keep(t)
	r.count(t, 1, 1)
	rival := with(t, "rival run")
	_, err := r.sessions.GetSession(rival, &agentv1.GetSessionRequest{SessionId: "chat"})
	wantError(t, err, codes.NotFound, "no such session", noSession("chat"))
	_, err = r.sessions.ListMessages(rival, &agentv1.ListMessagesRequest{SessionId: "chat"})
	wantError(t, err, codes.NotFound, "no such session", noSession("chat"))
	_, err = r.sessions.DeleteSession(rival, &agentv1.DeleteSessionRequest{SessionId: "chat"})
	wantError(t, err, codes.NotFound, "no such session", noSession("chat"))
	listed, err := r.sessions.ListSessions(rival, &agentv1.ListSessionsRequest{UserId: "ann"})
	if err != nil || len(listed.GetSessions()) != 0 {
		t.Errorf("the rival sees %v, %v", listed, err)
	}
	_, err = r.sessions.GetSession(with(t, "acme admin"), &agentv1.GetSessionRequest{SessionId: "chat"})
	wantError(t, err, codes.PermissionDenied, "`run`",
		&errdetails.ErrorInfo{Reason: "SCOPE_MISSING", Domain: "runwire", Metadata: map[string]string{"scope": "run"}})
	if _, err = r.sessions.GetSession(with(t, "acme run"), &agentv1.GetSessionRequest{SessionId: "chat"}); err != nil {
		t.Errorf("its owner: %v", err)
	}
}

func TestADeletedSessionIsGone(t *testing.T) {
	t.Parallel()
	r := keep(t)
	r.count(t, 1, 3)
	if _, err := r.sessions.DeleteSession(with(t, "acme run"), &agentv1.DeleteSessionRequest{SessionId: "chat"}); err != nil {
		t.Fatal(err)
	}
	_, err := r.sessions.DeleteSession(with(t, "acme run"), &agentv1.DeleteSessionRequest{SessionId: "chat"})
	wantError(t, err, codes.NotFound, "no such session", noSession("chat"))
	r.count(t, 1, 1) // another of that name
	response, err := r.sessions.ListMessages(with(t, "acme run"), &agentv1.ListMessagesRequest{SessionId: "chat"})
	if err != nil || len(response.GetMessages()) != 1 {
		t.Errorf("the new session: %v, %v", response, err)
	}
}

func TestAMessageThatCannotBeReadIsOurFault(t *testing.T) {
	t.Parallel()
	r := keep(t)
	turn := store.Turn{
		Tenant: "acme", SessionID: "chat", UserID: "ann", Messages: []store.Message{{Payload: []byte("{secret")}},
	}
	if err := r.AppendTurn(t.Context(), turn); err != nil {
		t.Fatal(err)
	}
	_, err := r.sessions.ListMessages(with(t, "acme run"), &agentv1.ListMessagesRequest{SessionId: "chat"})
	wantError(t, err, codes.Internal, "internal error", &errdetails.ErrorInfo{Reason: "INTERNAL", Domain: "runwire"})
	r.log.wait(t, "decode message 1")
}

func TestAnIDThatCannotBeKeptIsRefused(t *testing.T) {
	t.Parallel()
	r := keep(t)
	_, err := r.sessions.GetSession(with(t, "acme run"), &agentv1.GetSessionRequest{SessionId: "a\x00b"})
	wantError(t, err, codes.InvalidArgument, "NUL",
		wrong("", "a text in it cannot be kept, such as one with a NUL character"))
}

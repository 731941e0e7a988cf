package server

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/runwire/runwire/config"
	agentv1 "github.com/runwire/runwire/gen/agent/v1"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

const (
	approve = agentv1.ApprovalDecision_APPROVAL_DECISION_APPROVE
	reject  = agentv1.ApprovalDecision_APPROVAL_DECISION_REJECT
)

// mailer is a server whose agent calls the tool site.mail, which needs
// approval, and then says what came of it.
type mailer struct {
	*fixture

	client agentv1.AgentServiceClient
	sent   atomic.Int32
	// hangUp takes the tool's server away.
	hangUp func()
}

func newMailer(t *testing.T, change func(*Config)) *mailer {
	t.Helper()
	m := &mailer{}
	tools := sdk.NewServer(&sdk.Implementation{Name: "site"}, nil)
	sdk.AddTool(tools, &sdk.Tool{Name: "mail"}, func(context.Context, *sdk.CallToolRequest, struct{}) (*sdk.CallToolResult, any, error) {
		m.sent.Add(1)
		return &sdk.CallToolResult{Content: []sdk.Content{&sdk.TextContent{Text: "sent"}}}, nil, nil
	})
	var away atomic.Bool
	handler := sdk.NewStreamableHTTPHandler(func(*http.Request) *sdk.Server { return tools }, nil)
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if away.Load() {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(site.Close)
	m.hangUp = func() {
		away.Store(true)
		for session := range tools.Sessions() {
			_ = session.Close()
		}
		site.CloseClientConnections()
	}
	t.Cleanup(m.hangUp)
	provider := httptest.NewServer(http.HandlerFunc(callsThenTells))
	t.Cleanup(provider.Close)
	m.fixture = serve(t, func(cfg *Config) {
		a := offlineAgent("default", config.OfflineOptions{})
		a.Models, a.Tools, a.ServerTools = []string{"local/m"}, nil, []string{"site.*"}
		cfg.File = file(a)
		cfg.File.Providers = []config.Provider{{Name: "local", Type: config.OpenAI, BaseURL: provider.URL, Timeout: time.Minute}}
		cfg.File.MCPServers = []config.MCPServer{{
			Name: "site", URL: site.URL, Tools: []config.ToolRule{{Pattern: "mail", RequiresApproval: true}},
		}}
		if change != nil {
			change(cfg)
		}
	})
	m.log.wait(t, "mcp server connected")
	m.client = agentv1.NewAgentServiceClient(m.dial(t))
	return m
}

// callsThenTells is a model: it calls site.mail, and then repeats what the tool said.
func callsThenTells(w http.ResponseWriter, r *http.Request) {
	var asked struct {
		Messages []struct{ Role, Content string }
	}
	if err := json.NewDecoder(r.Body).Decode(&asked); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	delta := `{"tool_calls":[{"index":0,"id":"call_1","type":"function","function":{"name":"site_mail","arguments":"{}"}}]}`
	if last := asked.Messages[len(asked.Messages)-1]; last.Role == "tool" {
		delta = fmt.Sprintf(`{"content":%s}`, strconv.Quote(last.Content))
	}
	w.Header().Set("Content-Type", "text/event-stream")
	fmt.Fprintf(w, "data: {\"choices\":[{\"index\":0,\"delta\":%s,\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n", delta)
}

// waiting submits a task and returns its id, and its events behind the request
// for approval.
func (m *mailer) waiting(ctx context.Context, t *testing.T) (id, call string, rest grpc.ServerStreamingClient[agentv1.WatchTaskResponse]) {
	t.Helper()
	response, err := m.client.SubmitTask(ctx, &agentv1.SubmitTaskRequest{Message: "Mail Ada.", UserId: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	id = response.GetTask().GetTaskId()
	events, err := m.client.WatchTask(ctx, &agentv1.WatchTaskRequest{TaskId: id})
	if err != nil {
		t.Fatal(err)
	}
	for {
		response, err := events.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if asked := response.GetEvent().GetApprovalRequested(); asked != nil {
			if asked.GetTool() != "site.mail" {
				t.Errorf("asked for %v", asked)
			}
			return id, asked.GetToolCallId(), events
		}
	}
}

// said is the answer of a task whose events are watched to their end.
func said(t *testing.T, events grpc.ServerStreamingClient[agentv1.WatchTaskResponse]) string {
	t.Helper()
	var content string
	for {
		response, err := events.Recv()
		if errors.Is(err, io.EOF) {
			return content
		}
		if err != nil {
			t.Fatal(err)
		}
		content = response.GetEvent().GetFinished().GetResult().GetContent()
	}
}

func TestResolveApproval(t *testing.T) {
	t.Parallel()
	m := newMailer(t, nil)
	for name, test := range map[string]struct {
		decision, then agentv1.ApprovalDecision
		note, said     string
	}{
		"approved": {decision: approve, then: reject, said: "sent"},
		"rejected": {decision: reject, then: approve, note: "Ada is away.", said: "error: a person rejected the call: Ada is away."},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			id, call, events := m.waiting(t.Context(), t)
			got, err := m.client.GetTask(t.Context(), &agentv1.GetTaskRequest{TaskId: id})
			if err != nil || len(got.GetTask().GetPendingApprovals()) != 1 || got.GetTask().GetPendingApprovals()[0].GetToolCallId() != call {
				t.Errorf("it waits as %v, %v", got, err)
			}
			_, err = m.client.ResolveApproval(t.Context(), &agentv1.ResolveApprovalRequest{TaskId: id, ToolCallId: "call_of_nobody", Decision: approve})
			mustNotPend(t, "an unknown call", err)
			decision := &agentv1.ResolveApprovalRequest{TaskId: id, ToolCallId: call, Decision: test.decision, Note: test.note}
			if _, err := m.client.ResolveApproval(t.Context(), decision); err != nil {
				t.Fatal(err)
			}
			if got := said(t, events); got != test.said {
				t.Errorf("it said %q", got)
			}
			if again, err := m.client.ResolveApproval(t.Context(), decision); err != nil || again.GetTask().GetTaskId() != id {
				t.Errorf("the same decision again: %v, %v", again, err)
			}
			decision.Decision, decision.Note = test.then, ""
			_, err = m.client.ResolveApproval(t.Context(), decision)
			mustNotPend(t, "another decision", err)
		})
	}
	t.Run("after a cancel", func(t *testing.T) {
		t.Parallel()
		id, call, _ := m.waiting(t.Context(), t)
		if _, err := m.client.CancelTask(t.Context(), &agentv1.CancelTaskRequest{TaskId: id}); err != nil {
			t.Fatal(err)
		}
		_, err := m.client.ResolveApproval(t.Context(), &agentv1.ResolveApprovalRequest{TaskId: id, ToolCallId: call, Decision: approve})
		mustNotPend(t, "a decision after the cancel", err)
	})
	t.Run("of no task", func(t *testing.T) {
		t.Parallel()
		_, err := m.client.ResolveApproval(t.Context(), &agentv1.ResolveApprovalRequest{TaskId: "task_nobody", ToolCallId: "a", Decision: approve})
		if status.Code(err) != codes.NotFound {
			t.Errorf("it says %v", err)
		}
	})
	t.Cleanup(func() {
		if n := m.sent.Load(); n != 1 {
			t.Errorf("%d mails were sent, one was approved", n)
		}
	})
}

// mustNotPend fails the test unless err says that there is nothing to decide.
func mustNotPend(t *testing.T, what string, err error) {
	t.Helper()
	if got := reason(err); status.Code(err) != codes.FailedPrecondition || got != "APPROVAL_NOT_PENDING" {
		t.Errorf("%s: %v, reason %s", what, err, got)
	}
}

// reason is the ErrorInfo's of a call's error.
func reason(err error) string {
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			return info.GetReason()
		}
	}
	return ""
}

// A call cannot wait for a person, and says what can.
func TestACallThatNeedsApproval(t *testing.T) {
	t.Parallel()
	m := newMailer(t, nil)
	_, running := m.client.Run(t.Context(), &agentv1.RunRequest{Message: "Mail Ada.", UserId: "alice"})
	stream, err := m.client.StreamRun(t.Context(), &agentv1.StreamRunRequest{Message: "Mail Ada.", UserId: "alice"})
	for err == nil {
		_, err = stream.Recv()
	}
	for name, err := range map[string]error{"Run": running, "StreamRun": err} {
		told := status.Convert(err)
		if told.Code() != codes.FailedPrecondition || reason(err) != "APPROVAL_NEEDED" ||
			told.Message() != `the tool "site.mail" needs a person's approval: submit this as a task` {
			t.Errorf("%s: %v, reason %s", name, err, reason(err))
		}
	}
	if m.sent.Load() != 0 {
		t.Error("a mail was sent")
	}
}

func TestAnotherTenantsApprovalDoesNotExist(t *testing.T) {
	t.Parallel()
	m := newMailer(t, func(cfg *Config) {
		for _, tenant := range []string{"acme", "rival"} {
			cfg.File.Keys = append(cfg.File.Keys, config.Key{
				Name: tenant, Tenant: tenant, SHA256: sha256.Sum256([]byte(tenant)), Scopes: []config.Scope{config.ScopeTasks},
			})
		}
	})
	as := func(key string) context.Context {
		return metadata.AppendToOutgoingContext(t.Context(), "x-api-key", key)
	}
	id, call, events := m.waiting(as("acme"), t)
	decision := &agentv1.ResolveApprovalRequest{TaskId: id, ToolCallId: call, Decision: approve}
	if _, err := m.client.ResolveApproval(as("rival"), decision); status.Code(err) != codes.NotFound {
		t.Errorf("a rival's decision: %v", err)
	}
	if m.sent.Load() != 0 {
		t.Error("a mail was sent")
	}
	if _, err := m.client.ResolveApproval(as("acme"), decision); err != nil {
		t.Error(err)
	}
	if got := said(t, events); got != "sent" {
		t.Errorf("it said %q", got)
	}
}

// The tool is not unknown: its server is away.
func TestAnApprovedCallOfAServerThatIsAway(t *testing.T) {
	t.Parallel()
	m := newMailer(t, nil)
	id, call, events := m.waiting(t.Context(), t)
	m.hangUp()
	m.log.wait(t, "mcp server is down")
	if _, err := m.client.ResolveApproval(t.Context(), &agentv1.ResolveApprovalRequest{TaskId: id, ToolCallId: call, Decision: approve}); err != nil {
		t.Fatal(err)
	}
	if got := said(t, events); !strings.Contains(got, `the server "site" is not connected; the call was not made`) {
		t.Errorf("it said %q", got)
	}
}

package server

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/runwire/runwire/config"
	agentv1 "github.com/runwire/runwire/gen/agent/v1"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// withSessions gives the agent a memory.
func withSessions(f *config.File) *config.File {
	for i := range f.Agents {
		f.Agents[i].MaxHistoryTokens = 10_000
	}
	return f
}

func submit(t *testing.T, client agentv1.AgentServiceClient, req *agentv1.SubmitTaskRequest) *agentv1.Task {
	t.Helper()
	response, err := client.SubmitTask(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	return response.GetTask()
}

// watch returns a task's events from after on, up to the last.
func watch(ctx context.Context, client agentv1.AgentServiceClient, id string, after int64) ([]*agentv1.RunEvent, error) {
	stream, err := client.WatchTask(ctx, &agentv1.WatchTaskRequest{TaskId: id, AfterSequence: after})
	if err != nil {
		return nil, err
	}
	var events []*agentv1.RunEvent
	for {
		response, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return events, nil
		}
		if err != nil {
			return events, err
		}
		events = append(events, response.GetEvent())
	}
}

func TestATaskIsSubmittedWatchedAndListed(t *testing.T) {
	t.Parallel()
	f := serve(t, nil)
	client := agentv1.NewAgentServiceClient(f.dial(t))
	task := submit(t, client, &agentv1.SubmitTaskRequest{
		Message: "What is 6*7?", UserId: "alice", Labels: map[string]string{"team": "blue"},
		Priority: agentv1.TaskPriority_TASK_PRIORITY_HIGH,
	})
	events, err := watch(t.Context(), client, task.GetTaskId(), 0)
	if err != nil {
		t.Fatal(err)
	}
	result := events[len(events)-1].GetFinished().GetResult()
	if !result.GetSuccess() || !strings.Contains(result.GetContent(), "42") {
		t.Errorf("got %v", result)
	}
	listed, err := client.ListTasks(t.Context(), &agentv1.ListTasksRequest{
		UserId: "alice", Labels: map[string]string{"team": "blue"},
		Statuses: []agentv1.TaskStatus{agentv1.TaskStatus_TASK_STATUS_COMPLETED},
	})
	if err != nil || len(listed.GetTasks()) != 1 || listed.GetTasks()[0].GetResult().GetContent() != result.GetContent() {
		t.Errorf("listed %v, %v", listed, err)
	}
}

// What another tenant has, does not exist: whatever is asked of it.
func TestAnotherTenantsTaskDoesNotExist(t *testing.T) {
	t.Parallel()
	f := serve(t, func(c *Config) {
		for _, tenant := range []string{"acme", "rival"} {
			c.File.Keys = append(c.File.Keys, config.Key{
				Name: tenant, Tenant: tenant, SHA256: sha256.Sum256([]byte(tenant)), Scopes: []config.Scope{config.ScopeTasks},
			})
		}
	})
	client := agentv1.NewAgentServiceClient(f.dial(t))
	as := func(key string) context.Context {
		return metadata.AppendToOutgoingContext(t.Context(), "x-api-key", key)
	}
	response, err := client.SubmitTask(as("acme"), &agentv1.SubmitTaskRequest{Message: "Hello?", UserId: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	id := response.GetTask().GetTaskId()
	_, getting := client.GetTask(as("rival"), &agentv1.GetTaskRequest{TaskId: id})
	_, cancelling := client.CancelTask(as("rival"), &agentv1.CancelTaskRequest{TaskId: id})
	_, watching := watch(as("rival"), client, id, 0)
	for what, err := range map[string]error{"get": getting, "cancel": cancelling, "watch": watching} {
		if told := status.Convert(err); told.Code() != codes.NotFound || len(told.Details()) != 1 {
			t.Errorf("%s: %v", what, err)
		}
	}
	if listed, err := client.ListTasks(as("rival"), &agentv1.ListTasksRequest{}); err != nil || len(listed.GetTasks()) != 0 {
		t.Errorf("listed %v, %v", listed, err)
	}
	if _, err := watch(as("acme"), client, id, 0); err != nil {
		t.Error(err)
	}
}

func TestATaskThatCannotBeIsRefused(t *testing.T) {
	t.Parallel()
	f := serve(t, func(c *Config) {
		c.File.Webhooks.Secrets = []config.Secret{"whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="}
	})
	client := agentv1.NewAgentServiceClient(f.dial(t))
	for name, tc := range map[string]struct {
		change func(*agentv1.SubmitTaskRequest)
		code   codes.Code
		field  string
	}{
		"without a message": {func(r *agentv1.SubmitTaskRequest) { r.Message = "" }, codes.InvalidArgument, "message"},
		"of an agent that there is not": {
			func(r *agentv1.SubmitTaskRequest) { r.Agent = "nobody" }, codes.NotFound, "",
		},
		"that tells the metadata server": {
			func(r *agentv1.SubmitTaskRequest) { r.WebhookUrl = "http://169.254.169.254/latest" }, codes.InvalidArgument, "webhook_url",
		},
		"that tells this machine": {
			func(r *agentv1.SubmitTaskRequest) { r.WebhookUrl = "http://localhost:1/" }, codes.InvalidArgument, "webhook_url",
		},
		"that tells no web server": {
			func(r *agentv1.SubmitTaskRequest) { r.WebhookUrl = "file:///etc/passwd" }, codes.InvalidArgument, "webhook_url",
		},
		"at no time": {
			func(r *agentv1.SubmitTaskRequest) { r.RunAfter = &timestamppb.Timestamp{Seconds: -1} }, codes.InvalidArgument, "run_after",
		},
	} {
		req := &agentv1.SubmitTaskRequest{Message: "Hello?", UserId: "alice"}
		tc.change(req)
		_, err := client.SubmitTask(t.Context(), req)
		told := status.Convert(err)
		field := ""
		for _, detail := range told.Details() {
			if bad, ok := detail.(*errdetails.BadRequest); ok {
				field = bad.GetFieldViolations()[0].GetField()
			}
		}
		if told.Code() != tc.code || field != tc.field {
			t.Errorf("%s: %v, field %q", name, err, field)
		}
	}
}

func TestATaskInAnotherUsersSessionIsRefused(t *testing.T) {
	t.Parallel()
	client := agentv1.NewAgentServiceClient(serve(t, func(c *Config) { c.File = withSessions(c.File) }).dial(t))
	first := submit(t, client, &agentv1.SubmitTaskRequest{Message: "Hello?", UserId: "alice", SessionId: "chat"})
	if _, err := watch(t.Context(), client, first.GetTaskId(), 0); err != nil {
		t.Fatal(err)
	}
	submit(t, client, &agentv1.SubmitTaskRequest{Message: "Still?", UserId: "alice", SessionId: "chat"})
	_, err := client.SubmitTask(t.Context(), &agentv1.SubmitTaskRequest{Message: "Hello?", UserId: "bob", SessionId: "chat"})
	wantError(t, err, codes.NotFound, "session", noSession("chat"))
}

func TestWhatATaskHasEndedWithoutIsNotWatched(t *testing.T) {
	t.Parallel()
	client := agentv1.NewAgentServiceClient(serve(t, nil).dial(t))
	task := submit(t, client, &agentv1.SubmitTaskRequest{Message: "Hello?", UserId: "alice"})
	_, err := watch(t.Context(), client, task.GetTaskId(), 1000)
	if told := status.Convert(err); told.Code() != codes.InvalidArgument || !strings.Contains(told.Message(), "the task has ended with event") {
		t.Error(err)
	}
}

func TestAnIdempotencyKeyMakesOneTask(t *testing.T) {
	t.Parallel()
	f := serve(t, nil)
	client := agentv1.NewAgentServiceClient(f.dial(t))
	req := &agentv1.SubmitTaskRequest{Message: "Hello?", UserId: "alice", IdempotencyKey: "k1"}
	if one, two := submit(t, client, req), submit(t, client, req); one.GetTaskId() != two.GetTaskId() {
		t.Errorf("%s and %s", one.GetTaskId(), two.GetTaskId())
	}
	req.Message = "Something else"
	_, err := client.SubmitTask(t.Context(), req)
	if status.Code(err) != codes.AlreadyExists {
		t.Error(err)
	}
}

func TestACallIsAbortedWhileItsSessionIsBusy(t *testing.T) {
	t.Parallel()
	held := newHeldModel(t)
	f := serve(t, func(c *Config) { c.File = withSessions(held.file) })
	client := agentv1.NewAgentServiceClient(f.dial(t))
	first, err := client.StreamRun(t.Context(), &agentv1.StreamRunRequest{Message: "One.", UserId: "alice", SessionId: "chat"})
	if err != nil {
		t.Fatal(err)
	}
	<-held.asked
	second := &agentv1.RunRequest{Message: "Two.", UserId: "alice", SessionId: "chat"}
	if _, err := client.Run(t.Context(), second); status.Code(err) != codes.Aborted {
		t.Errorf("beside another: %v", err)
	}
	other := &agentv1.RunRequest{Message: "Two.", UserId: "bob", SessionId: "chat"}
	if _, err := client.Run(t.Context(), other); status.Code(err) != codes.NotFound {
		t.Errorf("another user's: %v", err)
	}
	held.release()
	for err == nil {
		_, err = first.Recv()
	}
	if _, err := client.Run(t.Context(), second); err != nil {
		t.Errorf("after it: %v", err)
	}
	messages, err := agentv1.NewSessionServiceClient(f.dial(t)).ListMessages(t.Context(), &agentv1.ListMessagesRequest{SessionId: "chat"})
	if err != nil || len(messages.GetMessages()) != 4 || messages.GetMessages()[2].GetText() != "Two." {
		t.Errorf("%v, %v", messages, err)
	}
}

// Who watches goes on elsewhere when a server drains, and finds all on the
// server that comes after it, where the task goes on.
func TestATaskOutlivesItsServer(t *testing.T) {
	t.Parallel()
	held := newHeldModel(t)
	folder := t.TempDir()
	open := func() *fixture {
		return serve(t, func(c *Config) {
			c.File, c.DataDir, c.DrainTimeout = withSessions(held.file), folder, 10*time.Millisecond
		})
	}
	f := open()
	client := agentv1.NewAgentServiceClient(f.dial(t))
	id := submit(t, client, &agentv1.SubmitTaskRequest{Message: "Hello?", UserId: "alice"}).GetTaskId()
	<-held.asked
	watching := make(chan error, 1)
	go func() {
		_, err := watch(t.Context(), client, id, 0)
		watching <- err
	}()
	f.stop()
	if err := <-watching; status.Code(err) != codes.Unavailable {
		t.Errorf("who watched was told %v", err)
	}
	if err := f.wait(); err != nil {
		t.Error(err)
	}
	held.release()
	f = open()
	client = agentv1.NewAgentServiceClient(f.dial(t))
	events, err := watch(t.Context(), client, id, 0)
	if err != nil {
		t.Fatal(err)
	}
	result := events[len(events)-1].GetFinished().GetResult()
	if result.GetContent() != "Hello, Alice." || result.GetUsage().GetLlmCalls() != 2 {
		t.Errorf("got %v", result)
	}
	last := int64(0)
	for _, event := range events {
		if event.GetSequence() != last+1+event.GetMerged() {
			t.Errorf("event %d after %d", event.GetSequence(), last)
		}
		last = event.GetSequence()
	}
}

func TestADataFolderIsOneProcesses(t *testing.T) {
	t.Parallel()
	f := serve(t, nil)
	cfg := testConfig(t)
	cfg.Listen, cfg.HTTPListen, cfg.DataDir = "127.0.0.1:0", "", f.cfg.DataDir
	if _, err := New(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "--data-dir") {
		t.Error(err)
	}
}

// Runs that end together share a write, and each row is there all the same.
func TestUsageOfManyCallsIsKept(t *testing.T) {
	t.Parallel()
	f := serve(t, nil)
	conn := f.dial(t)
	var calling sync.WaitGroup
	var tokens atomic.Int64
	for range 32 {
		calling.Go(func() {
			for range 4 {
				response, err := agentv1.NewAgentServiceClient(conn).Run(t.Context(), &agentv1.RunRequest{Message: "Hello?", UserId: "alice"})
				if err != nil {
					t.Error(err)
					return
				}
				tokens.Add(response.GetResult().GetUsage().GetTotalTokens())
			}
		})
	}
	calling.Wait()
	sums, err := agentv1.NewUsageServiceClient(conn).GetUsage(t.Context(), &agentv1.GetUsageRequest{})
	if err != nil || len(sums.GetSums()) != 1 || sums.GetSums()[0].GetUsage().GetLlmCalls() != 128 ||
		sums.GetSums()[0].GetUsage().GetTotalTokens() != tokens.Load() {
		t.Errorf("%v, %v, want %d tokens", sums, err, tokens.Load())
	}
	_, err = agentv1.NewAgentServiceClient(conn).Run(t.Context(), &agentv1.RunRequest{Message: "Hello?", UserId: "a\x00b"})
	if status.Code(err) != codes.InvalidArgument {
		t.Errorf("a user that cannot be accounted for: %v", err)
	}
}

func TestUsageOfCallsAndTasksIsKept(t *testing.T) {
	t.Parallel()
	f := serve(t, nil)
	conn := f.dial(t)
	client := agentv1.NewAgentServiceClient(conn)
	var want int64
	for range 3 {
		response, err := client.Run(t.Context(), &agentv1.RunRequest{Message: "What is 6*7?", UserId: "alice"})
		if err != nil {
			t.Fatal(err)
		}
		want += response.GetResult().GetUsage().GetTotalTokens()
	}
	id := submit(t, client, &agentv1.SubmitTaskRequest{Message: "What is 6*7?", UserId: "alice"}).GetTaskId()
	events, err := watch(t.Context(), client, id, 0)
	if err != nil {
		t.Fatal(err)
	}
	want += events[len(events)-1].GetFinished().GetResult().GetUsage().GetTotalTokens()
	sums, err := agentv1.NewUsageServiceClient(conn).GetUsage(t.Context(), &agentv1.GetUsageRequest{UserId: "alice"})
	if err != nil || len(sums.GetSums()) != 1 || sums.GetSums()[0].GetUsage().GetTotalTokens() != want {
		t.Errorf("%v, %v, want %d tokens", sums, err, want)
	}
}

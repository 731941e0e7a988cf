package main

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	agentv1 "github.com/runwire/runwire/gen/agent/v1"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

var morning = timestamppb.New(time.Date(2026, 3, 1, 8, 30, 0, 0, time.UTC))

// mustAsk fails the test unless the stand-in was asked for exactly that.
func (s *standIn) mustAsk(t *testing.T, want ...proto.Message) {
	t.Helper()
	if diff := cmp.Diff(want, s.requests(), protocmp.Transform()); diff != "" {
		t.Errorf("it was asked for %s", diff)
	}
}

func submitted() map[string]answer {
	return map[string]answer{
		"SubmitTask": answers(&agentv1.SubmitTaskResponse{Task: &agentv1.Task{
			TaskId: "t1", Status: agentv1.TaskStatus_TASK_STATUS_QUEUED, UserId: "ann",
		}}),
		"GetTask": answers(&agentv1.GetTaskResponse{Task: runningTask()}),
	}
}

func TestATaskIsSubmitted(t *testing.T) {
	t.Parallel()
	s := &standIn{unary: submitted()}
	code, out, said := s.run(t, "task", "submit", "Hello", "--agent", "writer", "--user", "ann", "--session", "s1",
		"--priority", "high", "--run-after", "2026-03-01T08:30:00Z", "--timeout", "90s", "--idempotency-key", "k1",
		"--label", "team=a;b", "--label", "x=y=z", "--webhook-url", "https://example.com/hook",
		"--max-tokens", "500", "--max-cost-usd", "0.25")
	if code != exitOK || out != "t1\n" || said != "" {
		t.Errorf("exit code %d, out %q, err %q", code, out, said)
	}
	s.mustAsk(t, &agentv1.SubmitTaskRequest{
		Message: "Hello", UserId: "ann", SessionId: "s1", Agent: "writer", MaxTokens: 500, MaxCostUsd: 0.25,
		IdempotencyKey: "k1", Priority: agentv1.TaskPriority_TASK_PRIORITY_HIGH, RunAfter: morning,
		Timeout: durationpb.New(90 * time.Second), WebhookUrl: "https://example.com/hook",
		Labels: map[string]string{"team": "a;b", "x": "y=z"},
	})
}

func TestATaskIsSubmittedForLater(t *testing.T) {
	t.Parallel()
	s := &standIn{unary: submitted()}
	before := time.Now()
	code, out, said := runwire(t, " Hello\n", s.command(t, "task", "submit", "-", "--user", "ann", "--run-after", "10m", "--json")...)
	if code != exitOK || out != `{"taskId":"t1","status":"TASK_STATUS_QUEUED","userId":"ann"}`+"\n" || said != "" {
		t.Errorf("exit code %d, out %q, err %q", code, out, said)
	}
	request := s.requests()[0].(*agentv1.SubmitTaskRequest)
	if after := request.GetRunAfter().AsTime().Sub(before); after < 10*time.Minute || after > 11*time.Minute {
		t.Errorf("it may start after %v", after)
	}
	request.RunAfter = nil
	want := &agentv1.SubmitTaskRequest{Message: "Hello", UserId: "ann", Priority: agentv1.TaskPriority_TASK_PRIORITY_NORMAL}
	if diff := cmp.Diff(want, request, protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
}

func TestATaskIsSubmittedAndWatched(t *testing.T) {
	t.Parallel()
	watch := func(_ context.Context, _ *agentv1.WatchTaskRequest, send func(...*agentv1.RunEvent) error) error {
		return send(taskEvents()...)
	}
	s := &standIn{unary: submitted(), watch: watch}
	code, out, said := s.run(t, "task", "submit", "Hello", "--watch")
	if code != exitOK || out != settled || said != "task t1\n"+toldBeside {
		t.Errorf("exit code %d, out %q, err %q", code, out, said)
	}
	s = &standIn{unary: submitted(), watch: watch}
	code, out, said = s.run(t, "task", "submit", "Hello", "--watch", "--json")
	lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	if code != exitOK || said != "" || len(lines) != 1+len(taskEvents()) {
		t.Fatalf("exit code %d, out %q, err %q", code, out, said)
	}
	for i, want := range taskEvents() {
		event := &agentv1.RunEvent{}
		if err := protojson.Unmarshal([]byte(lines[i+1]), event); err != nil || !proto.Equal(event, want) {
			t.Errorf("line %d is %s, %v", i+1, lines[i+1], err)
		}
	}
}

// fullTask has every field that `task get` shows.
func fullTask() *agentv1.Task {
	result := conversation()[len(conversation())-1].GetFinished().GetResult()
	result.Content = "It is\n4."
	return &agentv1.Task{
		TaskId: "t1", Status: agentv1.TaskStatus_TASK_STATUS_COMPLETED, Agent: "default", UserId: "ann", SessionId: "s1",
		Message: "What is\n\x1b[1m2+2?", Result: result, Attempt: 2, CreateTime: morning,
		StartTime: timestamppb.New(morning.AsTime().Add(time.Hour)), RunAfter: timestamppb.New(morning.AsTime().Add(time.Hour)),
		FinishTime: timestamppb.New(morning.AsTime().Add(2 * time.Hour)), LastSequence: 12,
		Labels: map[string]string{"team": "a", "env": "b"}, Priority: agentv1.TaskPriority_TASK_PRIORITY_LOW,
		WebhookDeliveries: []*agentv1.WebhookDelivery{{
			Url: "https://example.com", Status: agentv1.WebhookDeliveryStatus_WEBHOOK_DELIVERY_STATUS_PENDING, Attempt: 3,
			LastError: "503", NextTime: morning,
		}},
	}
}

func TestATaskIsShown(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		task *agentv1.Task
		want string
	}{
		"that has ended": {fullTask(), `task      t1
status    completed
agent     default
user      ann
session   s1
message   What is [1m2+2?
priority  low
labels    env=b team=a
created   2026-03-01T08:30:00Z
due       2026-03-01T09:30:00Z
started   2026-03-01T09:30:00Z
finished  2026-03-01T10:30:00Z
attempt   2
sequence  12
webhook   https://example.com pending, try 3: 503, next 2026-03-01T08:30:00Z
run       1020 tokens (1000 in, 20 out), $0.00012, 1.23 s

It is
4.
`},
		"that is being cancelled": {&agentv1.Task{
			TaskId: "t1", Status: agentv1.TaskStatus_TASK_STATUS_RUNNING, CancelRequested: true, Attempt: 1,
			CreateTime: morning, RunAfter: morning, Priority: agentv1.TaskPriority_TASK_PRIORITY_NORMAL, Error: "worker lost",
		}, `task      t1
status    running, being cancelled
priority  normal
created   2026-03-01T08:30:00Z
sequence  0
error     worker lost
`},
	} {
		s := &standIn{unary: map[string]answer{"GetTask": answers(&agentv1.GetTaskResponse{Task: test.task})}}
		code, out, said := s.run(t, "task", "get", "t1")
		if code != exitOK || said != "" {
			t.Errorf("%s: exit code %d, err %q", name, code, said)
		}
		if diff := cmp.Diff(test.want, out); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		s.mustAsk(t, &agentv1.GetTaskRequest{TaskId: "t1"})
		_, out, _ = s.run(t, "task", "get", "t1", "--json")
		got := &agentv1.Task{}
		if err := protojson.Unmarshal([]byte(out), got); err != nil || !proto.Equal(got, test.task) || strings.Count(out, "\n") != 1 {
			t.Errorf("%s, as JSON: %s, %v", name, out, err)
		}
	}
}

func TestATaskIsCancelled(t *testing.T) {
	t.Parallel()
	for said, task := range map[string]*agentv1.Task{
		"task t1 has ended: cancelled\n": {TaskId: "t1", Status: agentv1.TaskStatus_TASK_STATUS_CANCELLED},
		"task t1 has ended: completed\n": {TaskId: "t1", Status: agentv1.TaskStatus_TASK_STATUS_COMPLETED},
		"task t1 is being cancelled\n":   {TaskId: "t1", Status: agentv1.TaskStatus_TASK_STATUS_RUNNING, CancelRequested: true},
	} {
		s := &standIn{unary: map[string]answer{"CancelTask": answers(&agentv1.CancelTaskResponse{Task: task})}}
		if code, out, aside := s.run(t, "task", "cancel", "t1"); code != exitOK || out != said || aside != "" {
			t.Errorf("exit code %d, out %q, err %q; want %q", code, out, aside, said)
		}
		s.mustAsk(t, &agentv1.CancelTaskRequest{TaskId: "t1"})
	}
}

func TestTasksAreListed(t *testing.T) {
	t.Parallel()
	ago := func(d time.Duration) *timestamppb.Timestamp { return timestamppb.New(time.Now().Add(-d)) }
	tasks := []*agentv1.Task{
		{TaskId: "t3", Status: agentv1.TaskStatus_TASK_STATUS_QUEUED, Agent: "default", UserId: "ann", CreateTime: ago(3 * time.Second), Message: strings.Repeat("many words ", 20)},
		{TaskId: "t2", Status: agentv1.TaskStatus_TASK_STATUS_RUNNING, CancelRequested: true, Agent: "default", UserId: "ann", CreateTime: ago(90 * time.Minute), Message: "two\nlines\x1b[2J"},
		{TaskId: "t1", Status: agentv1.TaskStatus_TASK_STATUS_FAILED, Agent: "writer", CreateTime: ago(73 * time.Hour), Message: "世界"},
	}
	s := &standIn{unary: map[string]answer{"ListTasks": answers(&agentv1.ListTasksResponse{Tasks: tasks})}}
	code, out, said := s.run(t, "task", "list", "--user", "ann", "--session", "s1", "--status", "queued,running", "--status", "failed",
		"--label", "team=a", "--limit", "10")
	const want = `ID  STATUS                    AGENT    USER  AGE  MESSAGE
t3  queued                    default  ann   3s   many words many words many words many words many…
t2  running, being cancelled  default  ann   1h   two lines[2J
t1  failed                    writer   -     3d   世界
`
	if code != exitOK || said != "" {
		t.Errorf("exit code %d, err %q", code, said)
	}
	if diff := cmp.Diff(want, out); diff != "" {
		t.Error(diff)
	}
	s.mustAsk(t, &agentv1.ListTasksRequest{
		UserId: "ann", SessionId: "s1", PageSize: 10, Labels: map[string]string{"team": "a"},
		Statuses: []agentv1.TaskStatus{
			agentv1.TaskStatus_TASK_STATUS_QUEUED, agentv1.TaskStatus_TASK_STATUS_RUNNING, agentv1.TaskStatus_TASK_STATUS_FAILED,
		},
	})
}

// manyTasks is a server with so many tasks, named by their numbers.
func manyTasks(count int) answer {
	return func(request proto.Message) (proto.Message, error) {
		list := request.(*agentv1.ListTasksRequest)
		from := 0
		_, _ = fmt.Sscan(list.GetPageToken(), &from)
		to := min(from+int(list.GetPageSize()), count)
		response := &agentv1.ListTasksResponse{}
		for i := from; i < to; i++ {
			response.Tasks = append(response.Tasks, &agentv1.Task{TaskId: fmt.Sprint(i)})
		}
		if to < count {
			response.NextPageToken = fmt.Sprint(to)
		}
		return response, nil
	}
}

func TestPagesAreFetchedAsNeeded(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		count int
		limit string
		want  int
		pages []int32 // their sizes
	}{
		{2500, "0", 2500, []int32{1000, 1000, 1000}},
		{2500, "1500", 1500, []int32{1000, 500}},
		{2500, "2500", 2500, []int32{1000, 1000, 500}},
		{20, "30", 20, []int32{30}},
		{0, "0", 0, []int32{1000}},
	} {
		s := &standIn{unary: map[string]answer{"ListTasks": manyTasks(test.count)}}
		code, out, said := s.run(t, "task", "list", "--json", "--limit", test.limit)
		if code != exitOK || said != "" || strings.Count(out, "\n") != test.want {
			t.Errorf("%d of %d: exit code %d, %d lines, err %q", test.want, test.count, code, strings.Count(out, "\n"), said)
		}
		var pages []int32
		for _, request := range s.requests() {
			pages = append(pages, request.(*agentv1.ListTasksRequest).GetPageSize())
		}
		if diff := cmp.Diff(test.pages, pages); diff != "" {
			t.Errorf("pages of %d of %d: %s", test.want, test.count, diff)
		}
	}
}

func TestCommandsFailAsRunsDo(t *testing.T) {
	t.Parallel()
	missing, err := status.New(codes.NotFound, "no such task").WithDetails(
		&errdetails.ResourceInfo{ResourceType: "task", ResourceName: "t1\x1b[2J"})
	if err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{
		"task get t1", "task watch t1", "task submit Hello", "task list", "task cancel t1",
		"schedule create Hello --cron @daily", "schedule get s", "schedule list", "schedule pause s", "schedule resume s", "schedule delete s",
		"session list", "session get s", "session messages s", "session delete s", "usage",
	} {
		t.Run(command, func(t *testing.T) {
			t.Parallel()
			args := strings.Fields(command)
			fails := func(err error) *standIn {
				fail := func(proto.Message) (proto.Message, error) { return nil, err }
				s := &standIn{unary: map[string]answer{}}
				for _, method := range []string{
					"GetTask", "SubmitTask", "ListTasks", "CancelTask", "CreateSchedule", "GetSchedule", "ListSchedules",
					"PauseSchedule", "ResumeSchedule", "DeleteSchedule", "ListSessions", "GetSession", "ListMessages",
					"DeleteSession", "GetUsage",
				} {
					s.unary[method] = fail
				}
				return s
			}
			code, out, said := fails(missing.Err()).run(t, args...)
			if code != exitFailed || out != "" || said != "runwire: not found: no such task \"t1\\x1b[2J\"\n" {
				t.Errorf("not found: exit code %d, out %q, err %q", code, out, said)
			}
			code, out, said = fails(status.Error(codes.InvalidArgument, "invalid request: limit")).run(t, args...)
			if code != exitMistake || out != "" || said != "runwire: invalid argument: invalid request: limit\n" {
				t.Errorf("invalid: exit code %d, out %q, err %q", code, out, said)
			}
			address, _ := (&standIn{}).start(t, "127.0.0.1:0")
			code, _, said = runwire(t, "", append(args, "--server", address)...)
			if code != exitFailed || !strings.Contains(said, "unauthenticated") {
				t.Errorf("without a key: exit code %d, err %q", code, said)
			}
		})
	}
}

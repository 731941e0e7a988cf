package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	agentv1 "github.com/runwire/runwire/gen/agent/v1"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// taskEvents are the conversation, numbered.
func taskEvents() []*agentv1.RunEvent {
	events := conversation()
	for i, event := range events {
		event.Sequence = int64(i + 1)
		event.CreateTime = timestamppb.New(time.Unix(1_700_000_000, 0))
	}
	return events
}

func runningTask() *agentv1.Task {
	return &agentv1.Task{TaskId: "t1", Status: agentv1.TaskStatus_TASK_STATUS_RUNNING}
}

// watched is a stand-in with one task, whose events watch sends.
func watched(watch func(ctx context.Context, request *agentv1.WatchTaskRequest, send func(...*agentv1.RunEvent) error) error) *standIn {
	return &standIn{
		unary: map[string]answer{"GetTask": answers(&agentv1.GetTaskResponse{Task: runningTask()})},
		watch: watch,
	}
}

// afterSequences are where the watches began that a stand-in was asked for.
func (s *standIn) afterSequences() []int64 {
	var after []int64
	for _, request := range s.requests() {
		if watch, ok := request.(*agentv1.WatchTaskRequest); ok {
			after = append(after, watch.GetAfterSequence())
		}
	}
	return after
}

const (
	// toldBeside is what the conversation has on standard error.
	toldBeside = `Let me think.
→ calculator { "expression": "2+2" }
← calculator 4 (0.1 ms)
← current_time failed: no such zone (1m30s)
↻ model a is unavailable; asking b; what it said is void
1020 tokens (1000 in, 20 out), $0.00012, 1.23 s
`
	// settled is what it has said in steps that are done.
	settled = "I shall\ncalculate\nIt is 4.\n"
)

func TestATaskIsWatchedToItsEnd(t *testing.T) {
	t.Parallel()
	s := watched(func(_ context.Context, _ *agentv1.WatchTaskRequest, send func(...*agentv1.RunEvent) error) error {
		return send(taskEvents()...)
	})
	code, out, said := s.run(t, "task", "watch", "t1")
	if code != exitOK || out != settled || said != toldBeside {
		t.Errorf("exit code %d, out %q, err %q", code, out, said)
	}
}

func TestAWatchGoesOnWhereItsStreamBrokeOff(t *testing.T) {
	t.Parallel()
	shutDown, err := status.New(codes.Unavailable, "the server is shutting down").WithDetails(
		&errdetails.RetryInfo{RetryDelay: durationpb.New(time.Millisecond)})
	if err != nil {
		t.Fatal(err)
	}
	for name, broke := range map[string]error{
		"the server goes":              shutDown.Err(),
		"a proxy resets the stream":    status.Error(codes.Internal, "stream terminated by RST_STREAM"),
		"a proxy's time is over":       status.Error(codes.DeadlineExceeded, "upstream timeout"),
		"the stream ends without word": nil,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := watched(func(_ context.Context, request *agentv1.WatchTaskRequest, send func(...*agentv1.RunEvent) error) error {
				if after := request.GetAfterSequence(); after > 0 {
					return send(taskEvents()[after:]...)
				}
				if err := send(taskEvents()[:5]...); err != nil {
					return err
				}
				return broke
			})
			code, out, said := s.run(t, "task", "watch", "t1")
			if code != exitOK || out != settled {
				t.Errorf("exit code %d, out %q, err %q", code, out, said)
			}
			if strings.Count(said, "runwire: the stream broke off (") != 1 || !strings.Contains(said, "; going on after event 5\n") {
				t.Errorf("it said\n%s", said)
			}
			if diff := cmp.Diff([]int64{0, 5}, s.afterSequences()); diff != "" {
				t.Errorf("it asked for events after %s", diff)
			}
		})
	}
}

func TestAWatchOutlivesItsServer(t *testing.T) {
	t.Parallel()
	s := watched(func(ctx context.Context, request *agentv1.WatchTaskRequest, send func(...*agentv1.RunEvent) error) error {
		if after := request.GetAfterSequence(); after > 0 {
			return send(taskEvents()[after:]...)
		}
		if err := send(taskEvents()[:5]...); err != nil {
			return err
		}
		<-ctx.Done()
		return ctx.Err()
	})
	address, stop := s.start(t, "127.0.0.1:0")
	events, out := io.Pipe()
	beside, said := io.Pipe()
	code := make(chan int, 1)
	go func() {
		args := []string{"task", "watch", "t1", "--json", "--server", address, "--api-key", standInKey}
		code <- execute(t.Context(), args, terminal{out: out, err: said})
		_ = errors.Join(out.Close(), said.Close())
	}()
	shown := bufio.NewReader(events)
	for range 5 {
		if _, err := shown.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	line, err := bufio.NewReader(beside).ReadString('\n') // it has noticed
	if err != nil || !strings.Contains(line, "the stream broke off (unavailable: ") {
		t.Errorf("it said %q, %v", line, err)
	}
	s.start(t, address)
	rest, err := io.ReadAll(shown)
	if got := strings.Count(string(rest), "\n"); err != nil || got != len(taskEvents())-5 {
		t.Errorf("then it showed %d events: %s, %v", got, rest, err)
	}
	if line, err := io.ReadAll(beside); err != nil || len(line) > 0 {
		t.Errorf("it said %q, %v", line, err)
	}
	if got := <-code; got != exitOK {
		t.Errorf("exit code %d", got)
	}
	if diff := cmp.Diff([]int64{0, 5}, s.afterSequences()); diff != "" {
		t.Errorf("it asked for events after %s", diff)
	}
}

func TestMissingEventsEndAWatch(t *testing.T) {
	t.Parallel()
	numbered := func(sequence, merged int64) *agentv1.RunEvent {
		event := says("x")
		event.Sequence, event.Merged = sequence, merged
		return event
	}
	last := func(sequence int64) *agentv1.RunEvent {
		event := taskEvents()[len(taskEvents())-1]
		event.Sequence = sequence
		return event
	}
	for name, test := range map[string]struct {
		events []*agentv1.RunEvent
		args   []string
		want   string
	}{
		"in a row":                {events: []*agentv1.RunEvent{numbered(1, 0), numbered(2, 0), last(3)}},
		"joined":                  {events: []*agentv1.RunEvent{numbered(1, 0), numbered(5, 3), last(6)}},
		"joined across the begin": {events: []*agentv1.RunEvent{numbered(9, 1), last(10)}, args: []string{"--after-sequence", "7"}},
		"one is missing":          {events: []*agentv1.RunEvent{numbered(1, 0), numbered(3, 0), last(4)}, want: "event 3, merged 0, came after event 1"},
		"the first is missing":    {events: []*agentv1.RunEvent{numbered(2, 0), last(3)}, want: "event 2, merged 0, came after event 0"},
		"one comes again":         {events: []*agentv1.RunEvent{numbered(1, 0), numbered(1, 0), last(2)}, want: "event 1, merged 0, came after event 1"},
		"more joined than are":    {events: []*agentv1.RunEvent{numbered(1, 0), numbered(3, 2), last(4)}, want: "event 3, merged 2, came after event 1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := watched(func(_ context.Context, _ *agentv1.WatchTaskRequest, send func(...*agentv1.RunEvent) error) error {
				return send(test.events...)
			})
			code, _, said := s.run(t, append([]string{"task", "watch", "t1"}, test.args...)...)
			if test.want == "" && code != exitOK {
				t.Errorf("exit code %d, err %q", code, said)
			}
			if test.want != "" && (code != exitFailed || !strings.Contains(said, "runwire: "+test.want)) {
				t.Errorf("exit code %d, err %q, want %q", code, said, test.want)
			}
		})
	}
}

func TestHowAWatchEnds(t *testing.T) {
	t.Parallel()
	ended := func(status agentv1.TaskStatus, why string) answer {
		return answers(&agentv1.GetTaskResponse{Task: &agentv1.Task{TaskId: "t1", Status: status, Error: why}})
	}
	gone := func(code codes.Code, message string) answer {
		return func(proto.Message) (proto.Message, error) { return nil, status.Error(code, message) }
	}
	unsuccessful := taskEvents()
	result := unsuccessful[len(unsuccessful)-1].GetFinished().GetResult()
	result.Success, result.StopReason, result.Error = false, agentv1.StopReason_STOP_REASON_CANCELLED, "cancelled"
	for name, test := range map[string]struct {
		task   answer
		events []*agentv1.RunEvent
		broke  error
		code   int
		said   string
	}{
		"without success":         {events: unsuccessful, code: exitFailed, said: "stopped (cancelled): cancelled; 1020 tokens"},
		"without a task":          {task: gone(codes.NotFound, "no such task"), code: exitFailed, said: "runwire: not found: no such task"},
		"with a wrong id":         {task: gone(codes.InvalidArgument, "task_id"), code: exitMistake, said: "runwire: invalid argument: task_id"},
		"without the server":      {task: gone(codes.Unavailable, "gone"), code: exitFailed, said: "runwire: unavailable: gone"},
		"with a task never begun": {task: ended(agentv1.TaskStatus_TASK_STATUS_CANCELLED, ""), code: exitFailed, said: "runwire: the task has ended (cancelled): "},
		"with a task given up":    {task: ended(agentv1.TaskStatus_TASK_STATUS_FAILED, "no\x1b such agent"), code: exitFailed, said: "runwire: the task has ended (failed): no such agent\n"},
		"with a number too high":  {broke: status.Error(codes.InvalidArgument, "after_sequence"), code: exitMistake, said: "runwire: invalid argument: after_sequence\n"},
		"with a refusal":          {broke: status.Error(codes.PermissionDenied, "this API key lacks the scope"), code: exitFailed, said: "runwire: permission denied: this API key"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := watched(func(_ context.Context, _ *agentv1.WatchTaskRequest, send func(...*agentv1.RunEvent) error) error {
				if err := send(test.events...); err != nil {
					return err
				}
				return test.broke
			})
			if test.task != nil {
				s.unary["GetTask"] = test.task
			}
			code, _, said := s.run(t, "task", "watch", "t1")
			if code != test.code || !strings.Contains(said, test.said) {
				t.Errorf("exit code %d, err %q; want %d, %q", code, said, test.code, test.said)
			}
		})
	}
}

func TestATaskIsWatchedFromBehindItsEnd(t *testing.T) {
	t.Parallel()
	task := func(status agentv1.TaskStatus, success bool) *agentv1.Task {
		return &agentv1.Task{TaskId: "t1", Status: status, LastSequence: 12, Result: &agentv1.RunResult{Success: success}}
	}
	completed := task(agentv1.TaskStatus_TASK_STATUS_COMPLETED, true)
	for name, test := range map[string]struct {
		tasks []*agentv1.Task // as they stand one look after the other
		after string
		code  int
		said  string
	}{
		"at its last event": {
			tasks: []*agentv1.Task{completed}, after: "12",
			said: "runwire: the task has ended (completed): there are no events after 12\n",
		},
		"beyond its last event": {
			tasks: []*agentv1.Task{completed}, after: "13",
			said: "runwire: the task has ended (completed): there are no events after 13\n",
		},
		"without success": {
			tasks: []*agentv1.Task{task(agentv1.TaskStatus_TASK_STATUS_FAILED, false)}, after: "12", code: exitFailed,
			said: "runwire: the task has ended (failed): there are no events after 12\n",
		},
		"while it ends": {
			tasks: []*agentv1.Task{runningTask(), completed}, after: "12",
			said: "runwire: the task has ended (completed): there are no events after 12\n",
		},
		"with events missing": {
			tasks: []*agentv1.Task{completed}, after: "11", code: exitFailed,
			said: "runwire: the task has ended (completed): there is no last event\n",
		},
		"while it ends, with events to come": {
			tasks: []*agentv1.Task{runningTask(), completed}, after: "11", code: exitFailed,
			said: "runwire: the stream broke off (it ended early); going on after event 11\n" +
				"runwire: the task has ended (completed): there is no last event\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := watched(func(context.Context, *agentv1.WatchTaskRequest, func(...*agentv1.RunEvent) error) error { return nil })
			looks := 0
			s.unary["GetTask"] = func(proto.Message) (proto.Message, error) {
				looks++
				return &agentv1.GetTaskResponse{Task: test.tasks[min(looks, len(test.tasks))-1]}, nil
			}
			code, out, said := s.run(t, "task", "watch", "t1", "--after-sequence", test.after)
			if code != test.code || out != "" || said != test.said {
				t.Errorf("exit code %d, out %q, err %q; want %d, %q", code, out, said, test.code, test.said)
			}
		})
	}
}

func TestCtrlCLeavesTheTaskRunning(t *testing.T) {
	t.Parallel()
	s := watched(func(ctx context.Context, _ *agentv1.WatchTaskRequest, send func(...*agentv1.RunEvent) error) error {
		if err := send(taskEvents()[0]); err != nil {
			return err
		}
		<-ctx.Done()
		return ctx.Err()
	})
	ctx, interrupt := context.WithCancel(t.Context())
	events, out := io.Pipe()
	var said strings.Builder
	code := make(chan int, 1)
	args := s.command(t, "task", "watch", "t1", "--json")
	go func() {
		code <- execute(ctx, args, terminal{out: out, err: &said})
		_ = out.Close()
	}()
	reader := bufio.NewReader(events)
	if _, err := reader.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	interrupt()
	if _, err := io.Copy(io.Discard, reader); err != nil {
		t.Error(err)
	}
	const want = "runwire: no longer watching; the task goes on, and `runwire task cancel t1` ends it\n"
	if got := <-code; got != exitInterrupted || said.String() != want {
		t.Errorf("exit code %d, err %q", got, said.String())
	}
	for _, request := range s.requests() {
		if _, cancels := request.(*agentv1.CancelTaskRequest); cancels {
			t.Error("it has cancelled the task")
		}
	}
}

// flaky is a server that answers a watcher as long as it is up.
type flaky struct {
	agentv1.AgentServiceClient

	events []*agentv1.RunEvent // of the first stream, before the server goes
	back   time.Time           // zero for never
	err    error
	tries  []time.Time
}

func (f *flaky) WatchTask(_ context.Context, request *agentv1.WatchTaskRequest, _ ...grpc.CallOption) (grpc.ServerStreamingClient[agentv1.WatchTaskResponse], error) {
	return &flakyStream{server: f, next: int(request.GetAfterSequence())}, nil
}

func (f *flaky) GetTask(context.Context, *agentv1.GetTaskRequest, ...grpc.CallOption) (*agentv1.GetTaskResponse, error) {
	f.tries = append(f.tries, time.Now())
	if f.back.IsZero() || time.Now().Before(f.back) {
		return nil, f.err
	}
	return &agentv1.GetTaskResponse{Task: runningTask()}, nil
}

type flakyStream struct {
	grpc.ServerStreamingClient[agentv1.WatchTaskResponse]

	server *flaky
	next   int
}

func (s *flakyStream) Recv() (*agentv1.WatchTaskResponse, error) {
	all := taskEvents()
	if s.next >= len(s.server.events) && len(s.server.tries) == 0 {
		return nil, s.server.err
	}
	s.next++
	return &agentv1.WatchTaskResponse{Event: all[s.next-1]}, nil
}

func flakyWatcher(server *flaky, said io.Writer) *watcher {
	return &watcher{
		client: server, task: runningTask(), patience: 10 * time.Minute,
		show: newTaskView(terminal{out: io.Discard, err: said}, true, runningTask()),
	}
}

func TestAWatcherComesBackSlowerAndSlower(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var said strings.Builder
		server := &flaky{
			events: taskEvents()[:3], back: time.Now().Add(5 * time.Minute), err: status.Error(codes.Unavailable, "gone"),
		}
		result, err := flakyWatcher(server, &said).watch(t.Context())
		if err != nil || !result.GetSuccess() {
			t.Fatalf("%v, %v", result, err)
		}
		if want := "runwire: the stream broke off (unavailable: gone); going on after event 3\n"; said.String() != want {
			t.Errorf("it said %q, want %q", said.String(), want)
		}
		pause := firstPause
		for i := 1; i < len(server.tries); i++ {
			pause = min(2*pause, longestPause)
			if got := server.tries[i].Sub(server.tries[i-1]); got < pause || got > pause*5/4 {
				t.Errorf("pause %d is %v, want %v or a little more", i, got, pause)
			}
		}
		if len(server.tries) < 20 {
			t.Errorf("it tried %d times", len(server.tries))
		}
	})
}

func TestAWatcherWaitsAsLongAsItIsAskedTo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		busy, err := status.New(codes.Unavailable, "busy").WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(7 * time.Second)})
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		server := &flaky{back: start, err: busy.Err()}
		if _, err := flakyWatcher(server, io.Discard).watch(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := server.tries[0].Sub(start); got != 7*time.Second {
			t.Errorf("it came back after %v", got)
		}
	})
}

func TestAWatcherGivesUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		server := &flaky{err: status.Error(codes.Unavailable, "gone")}
		_, err := flakyWatcher(server, io.Discard).watch(t.Context())
		if status.Code(err) != codes.Unavailable || !strings.Contains(fmt.Sprint(err), "the server has been gone for 10m0s") {
			t.Error(err)
		}
		if took := time.Since(start); took < 10*time.Minute || took > 11*time.Minute {
			t.Errorf("it gave up after %v", took)
		}
	})
}

func TestAWatcherIsInterruptedWhileItWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var ended atomic.Bool
		go func() {
			_, err := flakyWatcher(&flaky{err: status.Error(codes.Unavailable, "gone")}, io.Discard).watch(ctx)
			if !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
			ended.Store(true)
		}()
		synctest.Wait()
		cancel()
		synctest.Wait()
		if !ended.Load() {
			t.Error("it waits on")
		}
	})
}

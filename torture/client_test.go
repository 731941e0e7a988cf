//go:build linux

package torture

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	agentv1 "github.com/runwire/runwire/gen/agent/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"
)

// clients are connections to the API's replicas.
type clients []agentv1.AgentServiceClient

func dial(t *testing.T, addresses []string) clients {
	t.Helper()
	var all clients
	for _, address := range addresses {
		conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithConnectParams(grpc.ConnectParams{
				Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1, MaxDelay: 50 * time.Millisecond},
				MinConnectTimeout: time.Second,
			}))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		all = append(all, agentv1.NewAgentServiceClient(conn))
	}
	return all
}

// user submits one task, watches it to its end, and remembers what it was told.
type user struct {
	clients clients
	plan    plan
	replica int // which is asked next

	id       string
	last     int64  // the number of the last event
	said     string // since the last that voids it
	result   *agentv1.RunResult
	faults   []string
	retrying map[int64]time.Time // when an attempt said that it began
	joins    int
	told     []*agentv1.RunEvent
}

const (
	// oneCall is how long a call may take before it is made again elsewhere.
	oneCall = 10 * time.Second
	// oneWatch is that for a call that watches.
	oneWatch = time.Minute
	// betweenCalls is before that.
	betweenCalls = 100 * time.Millisecond
)

// next is another replica than the last.
func (u *user) next() agentv1.AgentServiceClient {
	u.replica++
	return u.clients[u.replica%len(u.clients)]
}

// again makes a call, each time to another replica, until one answers.
func (u *user) again(
	ctx context.Context, limit time.Duration, call func(ctx context.Context, client agentv1.AgentServiceClient) error,
) error {
	for {
		calling, cancel := context.WithTimeout(ctx, limit)
		err := call(calling, u.next())
		cancel()
		if err == nil {
			return nil
		}
		timer := time.NewTimer(betweenCalls)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("%s (%s) at event %d: %w", u.plan.message(), u.id, u.last, err)
		}
	}
}

// run returns once the task has ended, was watched to its end, and was read.
func (u *user) run(ctx context.Context) error {
	if err := u.again(ctx, oneCall, u.submit); err != nil {
		return err
	}
	if err := u.again(ctx, oneWatch, u.watch); err != nil {
		return fmt.Errorf("%w\n%s", err, u.account(context.WithoutCancel(ctx)))
	}
	return u.again(ctx, oneCall, u.read)
}

// submit returns once the task is acknowledged.
func (u *user) submit(ctx context.Context, client agentv1.AgentServiceClient) error {
	answer, err := client.SubmitTask(ctx, &agentv1.SubmitTaskRequest{
		Message: u.plan.message(), UserId: fmt.Sprint("user-", u.plan.number%50), IdempotencyKey: u.plan.key(),
	})
	u.id = answer.GetTask().GetTaskId()
	return err
}

// watch takes the events after the last until the end, or until something ends
// the stream: now and then that is the user.
func (u *user) watch(ctx context.Context, client agentv1.AgentServiceClient) error {
	const leaves = 40 // one event in so many
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	u.joins++
	stream, err := client.WatchTask(ctx, &agentv1.WatchTaskRequest{TaskId: u.id, AfterSequence: u.last})
	if err != nil {
		return err
	}
	for u.result == nil {
		answer, err := stream.Recv()
		if err != nil {
			return err
		}
		u.take(answer.GetEvent())
		if rand.IntN(leaves) == 0 {
			cancel()
		}
	}
	return nil
}

// account is what was told of the task, and what a replica says of it now.
func (u *user) account(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, oneCall)
	defer cancel()
	answer, err := u.next().GetTask(ctx, &agentv1.GetTaskRequest{TaskId: u.id})
	if err != nil {
		return err.Error()
	}
	text := fmt.Sprint("told: ", u.told, "\nkept: ", answer.GetTask(), ":")
	stream, err := u.next().WatchTask(ctx, &agentv1.WatchTaskRequest{TaskId: u.id})
	for err == nil {
		var event *agentv1.WatchTaskResponse
		if event, err = stream.Recv(); err == nil {
			text += fmt.Sprint("\n\t", event.GetEvent())
		}
	}
	return fmt.Sprint(text, "\n\t", err)
}

func (u *user) read(ctx context.Context, client agentv1.AgentServiceClient) error {
	answer, err := client.GetTask(ctx, &agentv1.GetTaskRequest{TaskId: u.id})
	if err == nil {
		u.compare(answer.GetTask())
	}
	return err
}

// take holds an event against those before it.
func (u *user) take(event *agentv1.RunEvent) {
	if want := u.last + 1 + event.GetMerged(); event.GetSequence() != want {
		u.faultf("event %d after %d, with %d merged", event.GetSequence(), u.last, event.GetMerged())
	}
	if first := u.last == 0; first != (event.GetStarted() != nil) {
		u.faultf("event %d after %d is %T", event.GetSequence(), u.last, event.GetEvent())
	}
	u.last = event.GetSequence()
	u.told = append(u.told, event)
	switch e := event.GetEvent().(type) {
	case *agentv1.RunEvent_TextDelta:
		u.said += e.TextDelta.GetText()
	case *agentv1.RunEvent_ToolCallStarted:
		u.said = ""
	case *agentv1.RunEvent_Retrying:
		u.said = ""
		u.retrying[int64(e.Retrying.GetAttempt())] = event.GetCreateTime().AsTime()
	case *agentv1.RunEvent_Finished:
		u.result = e.Finished.GetResult()
	}
}

// compare holds the task that is kept against what was told of it.
func (u *user) compare(task *agentv1.Task) {
	if status := task.GetStatus(); status != agentv1.TaskStatus_TASK_STATUS_COMPLETED {
		u.faultf("it is %v: %s", status, task.GetError())
	}
	if !proto.Equal(task.GetResult(), u.result) {
		u.faultf("its result is %v, told was %v", task.GetResult(), u.result)
	}
	if task.GetLastSequence() != u.last {
		u.faultf("its last event is %d, told was %d", task.GetLastSequence(), u.last)
	}
	if want := u.plan.answer(); u.result.GetContent() != want || u.said != want {
		u.faultf("it was told %q with the result %q, want %q", u.said, u.result.GetContent(), want)
	}
	if calls := len(u.result.GetToolCallsMade()); calls != u.plan.calls() || int(u.result.GetIterations()) != calls+1 {
		u.faultf("%d tool calls in %d iterations", calls, u.result.GetIterations())
	}
}

func (u *user) faultf(format string, args ...any) {
	u.faults = append(u.faults, fmt.Sprintf(u.plan.message()+" ("+u.id+"): "+format, args...))
}

// crowd is users who submit in the course of some time.
type crowd struct {
	users []*user
	group sync.WaitGroup
	errs  chan error // of those who had no end
}

func startCrowd(ctx context.Context, all clients, count int, within time.Duration) *crowd {
	c := &crowd{errs: make(chan error, count)}
	for i := range count {
		c.users = append(c.users, &user{
			clients: all, plan: plan{number: i + 1}, replica: i, retrying: make(map[int64]time.Time),
		})
	}
	c.group.Go(func() {
		ticker := time.NewTicker(within / time.Duration(count))
		defer ticker.Stop()
		for _, u := range c.users {
			select {
			case <-ticker.C:
			case <-ctx.Done():
			}
			c.group.Go(func() {
				if err := u.run(ctx); err != nil {
					c.errs <- err
				}
			})
		}
	})
	return c
}

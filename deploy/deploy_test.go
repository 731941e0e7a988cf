//go:build unix

package deploy_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	agentv1 "github.com/runwire/runwire/gen/agent/v1"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// dockerAt is where this program, called as `docker`, asks what to do.
const dockerAt = "RUNWIRE_TEST_DOCKER"

func TestMain(m *testing.M) {
	if at := os.Getenv(dockerAt); at != "" {
		os.Exit(docker(at))
	}
	goleak.VerifyTestMain(m)
}

// docker has its arguments carried out by the test that it runs for.
func docker(at string) int {
	args, err := json.Marshal(os.Args[1:])
	if err != nil {
		return 1
	}
	response, err := http.Post(at, "application/json", strings.NewReader(string(args)))
	if err != nil {
		return 1
	}
	_, _ = io.Copy(os.Stderr, response.Body)
	if response.StatusCode != http.StatusOK {
		return 1
	}
	return 0
}

// The parts of compose.yaml, as processes: what clients see of them through
// nginx, while replicas go and come.
func TestScaledOut(t *testing.T) { //nolint:tparallel // each step builds on the one before
	t.Parallel()
	w := newWorld(t)
	client := agentv1.NewAgentServiceClient(w.dial())
	for _, step := range []struct {
		name string
		test func(*world, *testing.T, agentv1.AgentServiceClient)
	}{
		{"calls and streams", (*world).testCalls},
		{"words come as they are spoken", (*world).testPace},
		{"errors say what is wrong", (*world).testErrors},
		{"health", (*world).testHealth},
		{"a replica is killed", (*world).testKilled},
		{"another version is put to work", (*world).testRolled},
		{"all of NATS is gone", (*world).testNoNATS},
		{"all replicas are gone", (*world).testNoReplica},
	} {
		if !t.Run(step.name, func(t *testing.T) { step.test(w, t, client) }) {
			t.FailNow() // what follows builds on it
		}
	}
}

func (w *world) testCalls(t *testing.T, client agentv1.AgentServiceClient) {
	t.Helper()
	response, err := client.Run(w.ctx(), &agentv1.RunRequest{UserId: "ann", Message: "What is 17 * 23?"})
	if err != nil || !strings.Contains(response.GetResult().GetContent(), "391") {
		t.Fatalf("Run: %v, %v", response, err)
	}
	s := &stream{}
	events, err := client.StreamRun(w.ctx(), &agentv1.StreamRunRequest{UserId: "ann", Message: "What is 17 * 23?"})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.read(events, nil); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(s.result.GetContent(), "391") {
		t.Errorf("StreamRun: %v", s.result)
	}
	// Both replicas are asked.
	for i := range 8 {
		if _, err := client.Run(w.ctx(), &agentv1.RunRequest{UserId: fmt.Sprint("user-", i), Message: "Hello"}); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"api-1", "api-2"} {
		if len(w.servers[name].lines("AgentService/Run")) == 0 {
			t.Errorf("%s was not asked", name)
		}
	}
}

// A proxy that held words back would deliver most of them seconds late.
func (w *world) testPace(t *testing.T, client agentv1.AgentServiceClient) {
	t.Helper()
	events, err := client.StreamRun(w.ctx(), &agentv1.StreamRunRequest{UserId: "pace", Message: "Go on.", Agent: "s20x200"})
	if err != nil {
		t.Fatal(err)
	}
	var late []time.Duration
	if err := new(stream).read(events, func(event *agentv1.RunEvent) {
		late = append(late, time.Since(event.GetCreateTime().AsTime()))
	}); err != nil {
		t.Fatal(err)
	}
	slices.Sort(late)
	t.Logf("%d events, late by %v, at most %v", len(late), late[len(late)/2], late[len(late)-1])
	if median := late[len(late)/2]; len(late) < 100 || median > 500*time.Millisecond {
		t.Errorf("%d events, late by %v", len(late), median)
	}
}

func (w *world) testErrors(t *testing.T, client agentv1.AgentServiceClient) {
	t.Helper()
	_, err := client.Run(t.Context(), &agentv1.RunRequest{UserId: "ann", Message: "Hello"})
	if s := status.Convert(err); s.Code() != codes.Unauthenticated || len(s.Details()) == 0 {
		t.Errorf("without a key: %v, details %v", err, s.Details())
	}
	_, err = client.Run(w.ctx(), &agentv1.RunRequest{UserId: "ann", Message: strings.Repeat("a", 300<<10)})
	if status.Code(err) != codes.ResourceExhausted {
		t.Errorf("too much: %v", err)
	}
	ctx := metadata.AppendToOutgoingContext(w.ctx(), "some_thing.of-mine", strings.Repeat("a", 30<<10))
	if _, err = client.Run(ctx, &agentv1.RunRequest{UserId: "ann", Message: "Hello"}); err != nil {
		t.Errorf("with much metadata: %v", err)
	}
}

func (w *world) testHealth(t *testing.T, _ agentv1.AgentServiceClient) {
	t.Helper()
	health := grpc_health_v1.NewHealthClient(w.dial())
	for _, service := range []string{"", "agent.v1.AgentService"} {
		got, err := health.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: service})
		if err != nil || got.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
			t.Errorf("%q is %v, %v", service, got.GetStatus(), err)
		}
	}
}

// Whoever watches a task on a replica that is killed goes on at another, and
// misses nothing; calls that come after it notice nothing.
func (w *world) testKilled(t *testing.T, client agentv1.AgentServiceClient) {
	t.Helper()
	submitted, err := client.SubmitTask(w.ctx(), &agentv1.SubmitTaskRequest{UserId: "watched", Message: "Go on.", Agent: "s20x200"})
	if err != nil {
		t.Fatal(err)
	}
	var watching sync.WaitGroup
	var begun sync.WaitGroup
	var broken atomic.Int64
	watchers := make([]*stream, 4)
	for i := range watchers {
		s := &stream{}
		watchers[i] = s
		begun.Add(1)
		once := sync.OnceFunc(begun.Done)
		broke := sync.OnceFunc(func() { broken.Add(1) }) // however often
		watching.Go(func() {
			defer once()
			err := s.watch(w.ctx(), client, submitted.GetTask().GetTaskId(), func(event *agentv1.RunEvent) {
				if event.GetSequence() >= 10 {
					once()
				}
			}, func(err error) {
				broke()
				t.Logf("broke off after event %d: %v", s.sequence, err)
			})
			if err != nil {
				t.Errorf("watcher %d: %v", i, err)
			}
		})
	}
	begun.Wait()
	_ = w.servers["api-1"].stop(syscall.SIGKILL)
	for i := range 40 {
		if _, err := client.Run(w.ctx(), &agentv1.RunRequest{UserId: fmt.Sprint("after-", i), Message: "Hello"}); err != nil {
			t.Errorf("call %d after the kill: %v", i, err)
		}
	}
	watching.Wait()
	if n := broken.Load(); n == 0 || n == 4 {
		t.Errorf("%d of 4 watchers were on the replica that was killed", n)
	}
	for i, s := range watchers {
		if !s.result.GetSuccess() || s.text != s.result.GetContent() || s.text != watchers[0].text {
			t.Errorf("watcher %d has %q of %q", i, s.text, s.result.GetContent())
		}
	}
	w.start("api-1")
}

// roll.sh replaces every replica and worker while calls go on, and none fails.
func (w *world) testRolled(t *testing.T, client agentv1.AgentServiceClient) {
	t.Helper()
	before := map[string]*process{"api-1": w.servers["api-1"], "api-2": w.servers["api-2"], "worker": w.servers["worker"]}
	ctx, cancel := context.WithCancel(w.ctx())
	var calls atomic.Int64
	var calling sync.WaitGroup
	for i := range 4 {
		calling.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				user := fmt.Sprintf("roll-%d-%d", i, n/10) // fewer than a user may make
				if _, err := client.Run(w.ctx(), &agentv1.RunRequest{UserId: user, Message: "What is 17 * 23?"}); err != nil {
					t.Errorf("call %d: %v", calls.Load(), err)
				}
				calls.Add(1)
			}
		})
	}
	out, err := w.roll(t)
	cancel()
	calling.Wait()
	t.Logf("%d calls meanwhile", calls.Load())
	if err != nil || calls.Load() == 0 {
		t.Fatalf("roll.sh: %v, %d calls\n%s", err, calls.Load(), out)
	}
	for name, p := range before {
		if p.err != nil || p == w.servers[name] {
			t.Errorf("%s has ended with %v", name, p.err)
		}
	}
	await(t, "both replicas are asked again", func(context.Context) bool {
		_, err := client.Run(w.ctx(), &agentv1.RunRequest{UserId: fmt.Sprint("again-", calls.Add(1)), Message: "Hello"})
		return err == nil && len(w.servers["api-1"].lines("AgentService/Run")) > 0 && len(w.servers["api-2"].lines("AgentService/Run")) > 0
	})
}

// roll runs roll.sh with a docker of this test's.
func (w *world) roll(t *testing.T) (string, error) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(w.path("docker"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, w.path("docker/docker")); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		var args []string
		err := json.NewDecoder(r.Body).Decode(&args)
		if err == nil {
			err = w.compose(args)
		}
		if err != nil {
			http.Error(rw, err.Error(), http.StatusInternalServerError)
		}
	}))
	defer server.Close()
	cmd := exec.Command("./roll.sh")
	cmd.Env = []string{"PATH=" + w.path("docker") + ":" + os.Getenv("PATH"), dockerAt + "=" + server.URL}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// compose does what `docker compose -f FILE …` would.
func (w *world) compose(args []string) error {
	if len(args) < 5 || args[0] != "compose" || args[1] != "-f" || args[2] != "./compose.yaml" {
		return fmt.Errorf("docker %q", args)
	}
	service := args[len(args)-1]
	switch args = args[3:]; {
	case slices.Equal(args[:len(args)-1], []string{"exec", "-T", "nginx", "sh", "-c"}):
		cmd := exec.Command("sh", "-c", w.replace.Replace(args[5]))
		cmd.Env = []string{"PATH=/usr/sbin:" + os.Getenv("PATH")}
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w\n%s", args[5], err, out)
		}
		return nil
	case args[0] == "up" && slices.Contains(args, "--wait") && slices.Contains(args, "--no-deps") && w.servers[service] != nil:
		if err := w.servers[service].stop(syscall.SIGTERM); err != nil {
			return fmt.Errorf("%s ended with %w", service, err)
		}
		w.start(service)
		return nil
	default:
		return fmt.Errorf("docker compose %q", args)
	}
}

// Calls go on. Each replica lets in its half of what a user may: workers and
// replicas that were replaced have no share.
func (w *world) testNoNATS(t *testing.T, client agentv1.AgentServiceClient) {
	t.Helper()
	limits := w.limits(t)
	await(t, "two replicas share the limits", func(ctx context.Context) bool {
		info, err := limits.Info(ctx, jetstream.WithSubjectFilter("runwire.limits.replica.*"))
		return err == nil && len(info.State.Subjects) == 2
	})
	for _, name := range []string{"nats-1", "nats-2", "nats-3"} {
		_ = w.servers[name].stop(syscall.SIGKILL)
	}
	for i := range 10 {
		if _, err := client.Run(w.ctx(), &agentv1.RunRequest{UserId: fmt.Sprint("alone-", i), Message: "Hello"}); err != nil {
			t.Errorf("call %d: %v", i, err)
		}
	}
	for _, name := range []string{"api-1", "api-2"} {
		await(t, name+" says that limits are not shared", func(context.Context) bool {
			return len(w.servers[name].lines("limits are no longer shared")) > 0
		})
	}
}

// What nginx says itself, a gRPC client understands.
func (w *world) testNoReplica(t *testing.T, client agentv1.AgentServiceClient) {
	t.Helper()
	for _, name := range []string{"api-1", "api-2"} {
		_ = w.servers[name].stop(syscall.SIGKILL)
	}
	for range 3 {
		_, err := client.Run(w.ctx(), &agentv1.RunRequest{UserId: "nobody", Message: "Hello"})
		if s := status.Convert(err); s.Code() != codes.Unavailable || s.Message() != "no replica can be reached" {
			t.Errorf("got %v", err)
		}
	}
}

// stream is what a client has of a run.
type stream struct {
	sequence int64
	text     string
	result   *agentv1.RunResult
}

// read reads to the end of one call; it is an error when an event is missing.
func (s *stream) read(events grpc.ServerStreamingClient[agentv1.StreamRunResponse], see func(*agentv1.RunEvent)) error {
	for {
		response, err := events.Recv()
		if errors.Is(err, io.EOF) {
			return s.whole()
		}
		if err != nil {
			return err
		}
		if err := s.take(response.GetEvent(), see); err != nil {
			return err
		}
	}
}

func (s *stream) whole() error {
	if s.result == nil {
		return io.ErrUnexpectedEOF
	}
	return nil
}

func (s *stream) take(event *agentv1.RunEvent, see func(*agentv1.RunEvent)) error {
	if event.GetSequence() != s.sequence+1+event.GetMerged() {
		return fmt.Errorf("event %d (merged %d) after %d", event.GetSequence(), event.GetMerged(), s.sequence)
	}
	s.sequence = event.GetSequence()
	s.text += event.GetTextDelta().GetText()
	if finished := event.GetFinished(); finished != nil {
		s.result = finished.GetResult()
	}
	if see != nil {
		see(event)
	}
	return nil
}

// watch reads a task to its end, over as many calls as that takes.
func (s *stream) watch(
	ctx context.Context, client agentv1.AgentServiceClient, id string, see func(*agentv1.RunEvent), broke func(error),
) error {
	for {
		events, err := client.WatchTask(ctx, &agentv1.WatchTaskRequest{TaskId: id, AfterSequence: s.sequence})
		if err != nil {
			return err
		}
		for err == nil {
			var response *agentv1.WatchTaskResponse
			if response, err = events.Recv(); err != nil {
				break
			}
			if err := s.take(response.GetEvent(), see); err != nil {
				return err
			}
		}
		switch code := status.Code(err); {
		case errors.Is(err, io.EOF):
			return s.whole()
		case code == codes.Unavailable, code == codes.Internal: // the connection broke
			broke(err)
		default:
			return err
		}
	}
}

package tasks_test

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/runwire/runwire/agent"
	"github.com/runwire/runwire/agent/model"
	"github.com/runwire/runwire/agent/tool"
	"github.com/runwire/runwire/bus"
	agentv1 "github.com/runwire/runwire/gen/agent/v1"
	"github.com/runwire/runwire/sessions"
	"github.com/runwire/runwire/store"
	"github.com/runwire/runwire/tasks"
)

const tenant = "acme"

// house is a store and a bus, and as many replicas as are started in it.
type house struct {
	tb    testing.TB
	store *store.DB
	bus   *bus.Bus
	model *script
	// summary sums up sessions; nil is nobody.
	summary *script
	tools   []*tool.Tool
	// helper, if any, is the model of an agent that the first may ask.
	helper *script
	log    *logs
	// lose, if any, is asked of every write that was made whether its answer is lost.
	lose func(store.Progress) bool
	// die, if any, comes before every write of progress. Its error is the write's.
	die func(store.Progress) error
	// late, if any, is asked of every write of progress whether it is answered as
	// lost, and comes through right after the next look at a task.
	late func(store.Progress) bool
	// claimed, if any, comes between a claim and its answer, submitted between
	// that and its answer where a task was claimed as it was submitted.
	claimed, submitted func(store.Task)
	// submitting, if any, comes before such a submit. Its error is the answer.
	submitting func() error
	// loseSubmit, if any, is asked whether such a submit's answer is lost.
	loseSubmit func() bool
	// broke is whose leases were left alone when the others' were broken.
	broke chan string
	// sole: replicas that are started have the store for themselves.
	sole bool
	// loseEnd is lose for the writes that end a task or hand it back.
	loseEnd   func() bool
	allowance func(tenant, user, key string) agent.Allowance // nil is none
}

// newHouse opens everything for real: a SQLite file and an embedded NATS.
func newHouse(tb testing.TB) *house {
	tb.Helper()
	h := &house{tb: tb, log: &logs{}, model: &script{}}
	tb.Cleanup(func() {
		if tb.Failed() {
			tb.Log(h.log)
		}
	})
	var err error
	if h.store, err = store.OpenSQLite(tb.Context(), filepath.Join(tb.TempDir(), "runwire.db"), store.Options{}); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := h.store.Close(); err != nil {
			tb.Error(err)
		}
	})
	h.openBus()
	return h
}

// openBus gives the replicas that are started from now on a NATS of their own.
func (h *house) openBus() {
	h.tb.Helper()
	var err error
	if h.bus, err = bus.Open(h.tb.Context(), bus.Config{Log: slog.New(slog.NewTextHandler(h.log, &slog.HandlerOptions{Level: slog.LevelDebug}))}); err != nil {
		h.tb.Fatal(err)
	}
	h.tb.Cleanup(h.bus.Close)
}

// lossy is a store that may go away right after a write.
type lossy struct {
	store.Store

	*house

	under *underway
}

// underway are writes that have yet to come through.
type underway struct {
	mu     sync.Mutex
	writes []func()
}

func (l lossy) GetTask(ctx context.Context, tenant, id string) (store.Task, error) {
	task, err := l.Store.GetTask(ctx, tenant, id)
	l.under.mu.Lock()
	defer l.under.mu.Unlock()
	for _, write := range l.under.writes {
		write()
	}
	l.under.writes = nil
	return task, err
}

func (l lossy) ClaimTask(ctx context.Context, tenant, id, worker string, lease time.Duration) (store.Task, error) {
	task, err := l.Store.ClaimTask(ctx, tenant, id, worker, lease)
	if err == nil && l.claimed != nil {
		l.claimed(task)
	}
	return task, err
}

func (l lossy) SubmitClaimed(
	ctx context.Context, spec store.TaskSpec, worker string, lease time.Duration,
) (store.Task, bool, error) {
	if l.submitting != nil {
		if err := l.submitting(); err != nil {
			return store.Task{}, false, err
		}
	}
	task, created, err := l.Store.SubmitClaimed(ctx, spec, worker, lease)
	switch {
	case err != nil:
	case l.submitted != nil:
		l.submitted(task)
	case l.loseSubmit != nil && l.loseSubmit():
		return store.Task{}, false, store.ErrUnavailable
	}
	return task, created, err
}

func (l lossy) BreakLeases(ctx context.Context, but string) error {
	if l.broke != nil {
		l.broke <- but
	}
	return l.Store.BreakLeases(ctx, but)
}

func (l lossy) SuspendTask(ctx context.Context, ref store.TaskRef, progress store.Progress, calls []store.PendingCall) error {
	err := l.Store.SuspendTask(ctx, ref, progress, calls)
	if err == nil && l.loseEnd != nil && l.loseEnd() {
		return store.ErrUnavailable
	}
	return err
}

func (l lossy) FinishTask(ctx context.Context, ref store.TaskRef, end store.Ending) error {
	err := l.Store.FinishTask(ctx, ref, end)
	if err == nil && l.loseEnd != nil && l.loseEnd() {
		return store.ErrUnavailable
	}
	return err
}

func (l lossy) ReleaseTask(ctx context.Context, ref store.TaskRef, after time.Duration) error {
	err := l.Store.ReleaseTask(ctx, ref, after)
	if err == nil && l.loseEnd != nil && l.loseEnd() {
		return store.ErrUnavailable
	}
	return err
}

func (l lossy) AppendProgress(ctx context.Context, ref store.TaskRef, progress store.Progress) error {
	if l.die != nil {
		if err := l.die(progress); err != nil {
			return err
		}
	}
	if l.late != nil && l.late(progress) {
		l.under.mu.Lock()
		defer l.under.mu.Unlock()
		l.under.writes = append(l.under.writes, func() { _ = l.Store.AppendProgress(ctx, ref, progress) }) // for nobody to hear
		return store.ErrUnavailable
	}
	err := l.Store.AppendProgress(ctx, ref, progress)
	if err == nil && l.lose != nil && l.lose(progress) {
		return store.ErrUnavailable
	}
	return err
}

// replica is one process's share.
type replica struct {
	*tasks.Service

	stop    context.CancelFunc
	stopped chan struct{}
}

// replica starts one with a worker of so many slots; none for 0.
func (h *house) replica(slots int, drain time.Duration) *replica {
	h.tb.Helper()
	log := slog.New(slog.NewTextHandler(h.log, nil))
	agents := []agent.Agent{{
		Name: "default", Models: []model.Model{h.model}, Tools: h.tools, MaxIterations: 10, MaxOutputTokens: 1000,
		MaxTokens: 1_000_000, MaxCost: model.Dollar, Timeout: time.Minute, HistoryTokens: 10_000,
	}}
	if h.summary != nil {
		agents[0].SummaryModels = []model.Model{h.summary}
	}
	if h.helper != nil {
		helper := agents[0]
		helper.Name, helper.Models = "helper", []model.Model{h.helper}
		agents[0].Agents = []string{helper.Name}
		agents = append(agents, helper)
	}
	runner, err := agent.NewRunner(agent.Config{Agents: agents, Prices: model.Prices{"test/script": {Input: model.Dollar, Output: model.Dollar}}})
	if err != nil {
		h.tb.Fatal(err)
	}
	keeper := sessions.NewKeeper(h.store, log)
	r := &replica{stopped: make(chan struct{}), Service: tasks.NewService(tasks.Config{
		Store: lossy{Store: h.store, house: h, under: &underway{}}, Bus: h.bus, Runner: runner, Sessions: keeper, Webhooks: noWebhooks{}, Log: log,
		Allowance: h.allowance,
	})}
	ctx, stop := context.WithCancel(context.WithoutCancel(h.tb.Context()))
	r.stop = stop
	var running sync.WaitGroup
	run := func(loop func(context.Context) error) {
		running.Go(func() {
			if err := loop(ctx); err != nil {
				h.tb.Error(err)
			}
		})
	}
	run(keeper.Run)
	run(r.NewSweeper(tasks.SweeperConfig{
		Retention: time.Hour, Sole: h.sole, Fire: func(context.Context) error { return nil },
	}).Run)
	if slots > 0 {
		run(func(ctx context.Context) error { return r.Worker().Run(ctx, slots, drain) })
	}
	go func() {
		running.Wait()
		close(r.stopped)
	}()
	h.tb.Cleanup(func() {
		stop()
		<-r.stopped
	})
	return r
}

// submit asks for a task that says message.
func (r *replica) submit(t *testing.T, message string, change ...func(*agentv1.SubmitTaskRequest)) string {
	t.Helper()
	req := &agentv1.SubmitTaskRequest{Message: message, UserId: "ann"}
	for _, c := range change {
		c(req)
	}
	task, err := r.Submit(t.Context(), tenant, "", req)
	if err != nil {
		t.Fatal(err)
	}
	return task.GetTaskId()
}

// watch returns all events of a task from after on, and fails unless their
// numbers add up.
func (r *replica) watch(t *testing.T, id string, after int64) []*agentv1.RunEvent {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var events []*agentv1.RunEvent
	last := after
	err := r.Watch(ctx, tenant, id, after, func(event *agentv1.RunEvent) error {
		if event.GetSequence() != last+1+event.GetMerged() {
			return fmt.Errorf("event %d with %d merged after %d", event.GetSequence(), event.GetMerged(), last)
		}
		last = event.GetSequence()
		events = append(events, event)
		return nil
	})
	if err != nil {
		t.Fatalf("watching: %v after %s", err, said(events))
	}
	return events
}

// said is a stream in short: text as it is, other events by name; what a step
// had said is dropped when it is tried again.
func said(events []*agentv1.RunEvent) string {
	var kept []string
	step := 0
	for _, event := range events {
		switch e := event.GetEvent().(type) {
		case *agentv1.RunEvent_Started:
			kept = append(kept, "started")
		case *agentv1.RunEvent_HistorySummarized:
			kept = append(kept, fmt.Sprintf("sum of %d", e.HistorySummarized.GetMessages()))
		case *agentv1.RunEvent_TextDelta:
			kept = append(kept, e.TextDelta.GetText())
			continue
		case *agentv1.RunEvent_ToolCallStarted:
			kept = append(kept, "<"+e.ToolCallStarted.GetTool())
			continue
		case *agentv1.RunEvent_ToolCallFinished:
			kept = append(kept, e.ToolCallFinished.GetOutput()+e.ToolCallFinished.GetError()+">")
			continue
		case *agentv1.RunEvent_ApprovalRequested:
			kept = append(kept, e.ApprovalRequested.GetTool()+"?")
			continue
		case *agentv1.RunEvent_ApprovalResolved:
			decision := strings.TrimPrefix(e.ApprovalResolved.GetDecision().String(), "APPROVAL_DECISION_")
			kept = append(kept, decision+e.ApprovalResolved.GetNote())
			continue
		case *agentv1.RunEvent_IterationFinished:
			kept = append(kept, "|")
		case *agentv1.RunEvent_Retrying:
			kept = append(kept[:step], "retrying")
		case *agentv1.RunEvent_Finished:
			kept = append(kept, "finished")
		}
		step = len(kept)
	}
	return strings.Join(kept, " ")
}

// noWebhooks tells nobody.
type noWebhooks struct{}

func (noWebhooks) Check(string, string) error                       { return nil }
func (noWebhooks) Payload(*agentv1.Task, time.Time) ([]byte, error) { return []byte("{}"), nil }
func (noWebhooks) Wake()                                            {}

// script is a model whose replies depend on how far the conversation is: so it
// answers alike whoever asks. Every call is counted, and may be held up.
type script struct {
	mu    sync.Mutex
	calls int
	hold  func(ctx context.Context, turn int) error // nil does not
	turns []turn
}

// until holds each reply until a channel is closed.
func until(released <-chan struct{}) func(context.Context, int) error {
	return func(ctx context.Context, _ int) error {
		select {
		case <-released:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// turn is a reply.
type turn struct {
	say   []string
	calls []string // tools
	err   error
}

func (s *script) Name() string                     { return "test/script" }
func (s *script) InputTokens(*model.Request) int64 { return 10 }
func (s *script) count() int                       { s.mu.Lock(); defer s.mu.Unlock(); return s.calls }
func (s *script) plays(turns ...turn)              { s.turns = turns }

func (s *script) Generate(ctx context.Context, req *model.Request, speak func(model.Delta)) (model.Reply, error) {
	at := 0
	for _, m := range req.Messages {
		switch m.Role {
		case model.RoleAssistant:
			at++
		case model.RoleUser:
			at = 0
		case model.RoleTool:
		}
	}
	s.mu.Lock()
	s.calls++
	t := s.turns[min(at, len(s.turns)-1)]
	hold := s.hold
	s.mu.Unlock()
	reply := model.Reply{Stop: model.StopEnd, Usage: model.Usage{InputTokens: 7, OutputTokens: 3}}
	for i, piece := range t.say {
		if i == len(t.say)-1 && hold != nil {
			if err := hold(ctx, at); err != nil {
				return model.Reply{Usage: reply.Usage}, err
			}
		}
		speak(model.Delta{Text: piece})
	}
	if t.err != nil {
		return model.Reply{Usage: reply.Usage}, t.err
	}
	for i, name := range t.calls {
		reply.Stop = model.StopToolCalls
		arguments := "{}"
		if strings.HasPrefix(name, model.AgentPrefix) {
			arguments = `{"message":"Help."}`
		}
		reply.ToolCalls = append(reply.ToolCalls, model.ToolCall{ID: fmt.Sprintf("c%d", i), Name: name, Arguments: arguments})
	}
	return reply, ctx.Err()
}

// logs keeps what was logged.
type logs struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logs) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// eventually waits for what has no event of its own to wait for.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for !holds() {
		select {
		case <-ticker.C:
		case <-deadline.C:
			t.Fatalf("never: %s", what)
		}
	}
}

package tasks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/runwire/runwire/agent"
	agentv1 "github.com/runwire/runwire/gen/agent/v1"
	"github.com/runwire/runwire/store"
)

const (
	// flushEvery is how long an event may wait to be kept.
	flushEvery = 250 * time.Millisecond
	// ahead is how far, at most, what is told may be ahead of what is kept. Whoever
	// takes a task over leaves out as many numbers, so that none is ever given to
	// two events.
	ahead = 1000
	// keepRetry is between tries to keep what the store could not take.
	keepRetry = 500 * time.Millisecond
)

// progress is what a running task leaves behind while it runs: its live
// events on the bus, and its steps and events in the store. It is the run's
// agent.Journal.
type progress struct {
	service *Service
	task    *store.Task
	events  *agent.Events
	// lose ends the run: the task is another's.
	lose context.CancelCauseFunc

	mu     sync.Mutex
	steps  int64 // that are kept
	kept   int64 // the last event's number that is
	unkept []entry
	// early is the next event, where it has to be kept before it may be told.
	early entry
	// held are events that must not be seen before what they tell of is kept:
	// the end of an iteration and of the run, and that a person is asked, who may
	// decide at once.
	held   []entry
	closed bool // a run that was given up can keep nothing more
	// unsure: a write's answer was lost, so that more may be kept than is known.
	unsure bool
}

func newProgress(s *Service, task *store.Task, lose context.CancelCauseFunc) *progress {
	return &progress{
		service: s, task: task, events: agent.NewLog(task.LastSequence), lose: lose,
		steps: task.Steps, kept: task.LastSequence,
	}
}

// run sends events as they come and keeps them now and then, until ctx ends. No
// write is broken off then: it could come through after others were made.
func (p *progress) run(ctx context.Context) {
	writing := context.WithoutCancel(ctx)
	ticker := time.NewTicker(flushEvery)
	defer ticker.Stop()
	for {
		flush := false
		select {
		case <-ctx.Done():
			return
		case <-p.events.Ready():
		case <-ticker.C:
			flush = true
		}
		p.mu.Lock()
		err := p.send(writing)
		if err == nil && flush {
			err = p.keep(writing, p.unkept, nil, nil)
		}
		p.mu.Unlock()
		if errors.Is(err, store.ErrFenced) {
			p.lose(errLost)
		}
	}
}

// send takes what the run has said and sends it to those who watch. With an
// error the rest of it waits.
func (p *progress) send(ctx context.Context) error {
	var fresh []entry
	for e := p.next(); e.event != nil; e = p.next() {
		switch {
		case len(p.held) > 0 || isAfterwards(e.event):
			p.held = append(p.held, e)
		case e.event.GetSequence()-p.kept < ahead:
			fresh = append(fresh, e)
		default:
			p.publish(fresh)
			fresh = nil
			if err := p.keep(ctx, append(slices.Clone(p.unkept), e), nil, nil); err != nil {
				p.early = e
				return err
			}
			p.service.publish(p.task.Tenant, p.task.ID, p.task.Attempt, []entry{e})
		}
	}
	p.publish(fresh)
	return nil
}

// next is what the run has said next; without an event for nothing.
func (p *progress) next() entry {
	if e := p.early; e.event != nil {
		p.early = entry{}
		return e
	}
	told, _ := p.events.TryNext()
	return entry{event: told.Event, pieces: told.Pieces}
}

// isAfterwards says whether an event must not be seen before what it tells of is kept.
func isAfterwards(event *agentv1.RunEvent) bool {
	return event.GetIterationFinished() != nil || event.GetApprovalRequested() != nil || event.GetFinished() != nil
}

func (p *progress) publish(fresh []entry) {
	if len(fresh) == 0 {
		return
	}
	p.service.publish(p.task.Tenant, p.task.ID, p.task.Attempt, fresh)
	p.unkept = append(p.unkept, fresh...)
}

// keep writes entries, which begin with those that are not kept, steps and
// usage. After a write whose answer was lost, it leaves out what came through;
// should that come through only now, it is store.ErrUnavailable: the next try
// knows.
func (p *progress) keep(ctx context.Context, entries []entry, steps [][]byte, usage []store.UsageRow) error {
	if p.unsure {
		kept, err := p.learn(ctx)
		if err != nil {
			return err
		}
		if len(steps) > 0 && kept == p.steps+int64(len(steps)) {
			p.steps, steps, usage = kept, nil, nil
		}
		entries = p.missing(entries)
	}
	if len(steps) == 0 && len(entries) == 0 {
		return nil
	}
	events, err := p.encode(entries)
	if err != nil {
		return err
	}
	err = p.service.Store.AppendProgress(ctx, p.task.Ref(), store.Progress{
		Position: p.steps, Steps: steps, Usage: usage, Events: events,
	})
	if err != nil {
		if p.unsure && errors.Is(err, store.ErrConflict) {
			err = fmt.Errorf("%w: an earlier write has come through only now", store.ErrUnavailable)
		}
		p.unsure = true
		return err
	}
	p.steps += int64(len(steps))
	if len(events) > 0 {
		p.kept = events[len(events)-1].Sequence
		p.unkept = p.unkept[:0]
	}
	return nil
}

// learn finds out which events are kept, and returns how many steps are.
func (p *progress) learn(ctx context.Context) (steps int64, err error) {
	task, err := p.service.Store.GetTask(ctx, p.task.Tenant, p.task.ID)
	switch {
	case err != nil:
		return 0, err
	case task.Attempt != p.task.Attempt:
		return 0, store.ErrFenced
	}
	p.kept = task.LastSequence
	p.unkept = p.missing(p.unkept)
	return task.Steps, nil
}

// missing are the entries that come after the last that is kept.
func (p *progress) missing(entries []entry) []entry {
	return slices.DeleteFunc(slices.Clone(entries), func(e entry) bool { return e.event.GetSequence() <= p.kept })
}

// Append implements agent.Journal. While the store cannot be reached it tries
// again, until the task is no longer this worker's.
func (p *progress) Append(ctx context.Context, steps []agent.Step, calls []agent.ModelCall) error {
	encoded := make([][]byte, len(steps))
	for i, step := range steps {
		var err error
		if encoded[i], err = json.Marshal(step); err != nil {
			return fmt.Errorf("encoding a step: %w", err)
		}
	}
	usage := usageRows(p.task, calls)
	for {
		err := p.append(ctx, encoded, usage)
		switch {
		case !errors.Is(err, store.ErrUnavailable):
			return err
		case p.service.worker.lost(p.task.Ref()):
			return errLost
		}
		<-time.After(keepRetry)
	}
}

func (p *progress) append(ctx context.Context, steps [][]byte, usage []store.UsageRow) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return errLost
	}
	if err := p.send(ctx); err != nil {
		return err
	}
	if err := p.keep(ctx, p.all(), steps, usage); err != nil {
		return err
	}
	p.unsure = false
	p.service.publish(p.task.Tenant, p.task.ID, p.task.Attempt, p.held)
	p.held = nil
	return nil
}

// all are the entries that are not kept.
func (p *progress) all() []entry { return slices.Concat(p.unkept, p.held) }

// ending is what is left to be written with the task's end, after the run, and
// what to tell once it is.
func (p *progress) ending(ctx context.Context) (events []store.Event, held []entry, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.send(ctx); err != nil {
		return nil, nil, err
	}
	if p.unsure {
		if _, err := p.learn(ctx); err != nil {
			return nil, nil, err
		}
	}
	events, err = p.encode(p.missing(p.all()))
	return events, p.held, err
}

// encode makes entries into what is kept. Deltas are joined, unless some of them
// may come through by an earlier write: the store would not know them again.
func (p *progress) encode(entries []entry) ([]store.Event, error) {
	if !p.unsure {
		entries = join(slices.Clone(entries))
	}
	return encodeEvents(entries)
}

func encodeEvents(entries []entry) ([]store.Event, error) {
	events := make([]store.Event, len(entries))
	for i, e := range entries {
		payload, err := e.appendTo(nil)
		if err != nil {
			return nil, err
		}
		events[i] = store.Event{Sequence: e.event.GetSequence(), Payload: payload}
	}
	return events, nil
}

// usageRows are model calls as the store keeps them.
func usageRows(task *store.Task, calls []agent.ModelCall) []store.UsageRow {
	return UsageRows(task.Tenant, task.UserID, runID(task.ID), calls)
}

// UsageRows are a run's model calls as the store keeps them.
func UsageRows(tenant, user, run string, calls []agent.ModelCall) []store.UsageRow {
	rows := make([]store.UsageRow, len(calls))
	for i, call := range calls {
		rows[i] = store.UsageRow{
			Tenant: tenant, ID: call.ID, UserID: user, Agent: call.Agent, Model: call.Model, RunID: run, Time: call.Time,
			InputTokens: call.Usage.InputTokens, CachedTokens: call.Usage.CachedInputTokens,
			CacheWriteTokens: call.Usage.CacheWriteTokens, OutputTokens: call.Usage.OutputTokens,
			Estimated: call.Usage.Estimated, Reserved: call.Reserved,
		}
		if call.Priced {
			cost := int64(call.Cost)
			rows[i].CostNano = &cost
		}
	}
	return rows
}

package tasks

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/runwire/runwire/bus"
	"github.com/runwire/runwire/store"
)

const (
	// lease is how long a task stays with a worker that has fallen silent.
	lease = 30 * time.Second
	// renewal is how often a worker says that it lives.
	renewal = lease / 3
	// anxious is how often it asks for cancels while the bus cannot tell it.
	anxious = time.Second
)

// Why a try ends before its run does.
var (
	errLost      = errors.New("the task is no longer this worker's")
	errCancelled = errors.New("the task's cancel was requested")
	errHandBack  = errors.New("the worker is shutting down")
	errHardLimit = errors.New("the run did not stop when its time was up")
)

// Worker runs tasks, a number at once, and takes none before it has room.
type Worker struct {
	service *Service
	name    string
	errands chan bus.Errand // without room, so that one is sent only to a slot that waits

	mu       sync.Mutex
	claiming map[*claim]struct{}
	held     map[store.TaskRef]*attempt
	renewed  time.Time // when the leases were last known to be this worker's
	handing  bool      // what is begun now is handed back, too
}

func newWorker(s *Service) *Worker {
	host, _ := os.Hostname() // it is for people
	return &Worker{
		service: s, name: fmt.Sprintf("%s/%d/%s", host, os.Getpid(), uuid.NewString()[:8]),
		errands: make(chan bus.Errand), claiming: make(map[*claim]struct{}), held: make(map[store.TaskRef]*attempt),
	}
}

// Run runs tasks, slots at once, until ctx ends. Those that run then have
// drain to finish; what is left is handed back, so that another worker goes on
// with it at once.
func (w *Worker) Run(ctx context.Context, slots int, drain time.Duration) error {
	cancels, err := w.service.Bus.SubscribeCancels(w.cancel)
	if err != nil {
		return err
	}
	defer cancels.Close()

	working, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var renewing sync.WaitGroup
	renewing.Go(func() { w.renewAll(working) })

	var running sync.WaitGroup
	w.pull(ctx, working, slots, &running)
	w.drain(&running, drain)
	stop()
	renewing.Wait()
	return nil
}

// pull takes a task for every free slot until ctx ends.
func (w *Worker) pull(ctx, working context.Context, slots int, running *sync.WaitGroup) {
	puller := w.service.Bus.NewPuller()
	free := make(chan struct{}, slots)
	for range slots {
		free <- struct{}{}
	}
	for {
		select {
		case <-free:
		case <-ctx.Done():
			running.Go(puller.Close)
			return
		}
		delivery, errand, err := puller.Next(ctx, w.errands)
		if err != nil {
			running.Go(puller.Close)
			return
		}
		running.Go(func() {
			defer func() { free <- struct{}{} }()
			if errand != nil {
				errand(working)
				return
			}
			w.work(working, delivery)
		})
	}
}

// drain waits for what runs, and hands back what would not end in time.
func (w *Worker) drain(running *sync.WaitGroup, within time.Duration) {
	done := make(chan struct{})
	go func() {
		running.Wait()
		close(done)
	}()
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case <-done:
		return
	case <-timer.C:
	}
	w.mu.Lock()
	w.handing = true
	for _, a := range w.held {
		a.stop(errHandBack)
	}
	w.mu.Unlock()
	<-done
}

// place is a free slot that is kept for a task. What is put there finds the task,
// which then runs, or nil; a place that is closed empty is free again.
type place chan<- func(context.Context) *store.Task

// reserve returns a place for a task of that key, which is about to be kept as
// claimed by this worker, or nil where no slot waits: tasks that wait go first.
func (w *Worker) reserve(key taskKey) place {
	c := w.claim(key)
	given := make(chan func(context.Context) *store.Task, 1)
	errand := func(ctx context.Context) {
		defer w.forget(c)
		find := <-given
		if find == nil {
			return
		}
		if task := find(ctx); task != nil {
			w.run(ctx, task, c)
		}
	}
	select {
	case w.errands <- errand:
		return given
	default:
		w.forget(c)
		return nil
	}
}

// claim is of a task that may be this worker's, which does not know yet.
type claim struct {
	key       taskKey
	cancelled bool // meanwhile
}

func (w *Worker) claim(key taskKey) *claim {
	c := &claim{key: key}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.claiming[c] = struct{}{}
	return c
}

// forget ends a claim of which nothing has come. Others are left alone.
func (w *Worker) forget(c *claim) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.claiming, c)
}

// work claims a delivered task and runs it.
func (w *Worker) work(ctx context.Context, delivery *bus.Delivery) {
	c := w.claim(taskKey{delivery.Tenant, delivery.Task})
	defer w.forget(c)
	task, err := w.service.Store.ClaimTask(ctx, delivery.Tenant, delivery.Task, w.name, lease)
	switch {
	case err == nil:
		delivery.Ack() // should this worker die, whoever sweeps dispatches it once its lease has run out
		w.run(ctx, &task, c)
	case errors.Is(err, store.ErrNotClaimable), errors.Is(err, store.ErrNotFound):
		delivery.Ack() // whoever sweeps, or ends the task before it, tells of it in time
	default:
		w.service.Log.WarnContext(ctx, "task was not claimed",
			slog.String("task_id", delivery.Task), slog.Any("error", err))
		delivery.Return(time.Second)
	}
}

func (w *Worker) run(ctx context.Context, task *store.Task, by *claim) {
	a := newAttempt(ctx, w.service, task)
	w.mu.Lock()
	if len(w.held) == 0 {
		w.renewed = time.Now()
	}
	w.held[task.Ref()] = a
	delete(w.claiming, by)
	if by.cancelled {
		a.stop(errCancelled)
	}
	if w.handing {
		a.stop(errHandBack)
	}
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		delete(w.held, task.Ref())
		w.mu.Unlock()
		a.stop(nil)
	}()
	a.run(ctx)
}

// lost says whether the worker no longer has the task.
func (w *Worker) lost(ref store.TaskRef) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	a := w.held[ref]
	return a == nil || a.lost
}

// cancel ends a task's run here, if it runs here.
func (w *Worker) cancel(tenant, id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.claiming {
		if c.key == (taskKey{tenant, id}) {
			c.cancelled = true
		}
	}
	for ref, a := range w.held {
		if ref.Tenant == tenant && ref.ID == id {
			a.stop(errCancelled)
		}
	}
}

// renewAll says every few seconds, in one statement, that the worker lives,
// and learns which tasks are no longer its own and which to cancel.
func (w *Worker) renewAll(ctx context.Context) {
	timer := time.NewTimer(renewal)
	defer timer.Stop()
	last := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		if time.Since(last) >= renewal || !w.service.Bus.Connected() {
			w.renew(ctx)
			last = time.Now()
		}
		timer.Reset(anxious)
	}
}

func (w *Worker) renew(ctx context.Context) {
	refs := w.refs()
	if len(refs) == 0 {
		return
	}
	asked := time.Now()
	ctx, cancel := context.WithTimeout(ctx, renewal)
	defer cancel()
	held, err := w.service.Store.RenewLeases(ctx, w.name, refs, lease)
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		w.service.Log.WarnContext(ctx, "leases were not renewed", slog.Any("error", err))
		if time.Since(w.renewed) >= lease { // others may have the tasks now
			for _, ref := range refs {
				w.stop(ref, errLost)
			}
		}
		return
	}
	w.renewed = asked
	lost := make(map[store.TaskRef]bool, len(refs))
	for _, ref := range refs {
		lost[ref] = true
	}
	for _, h := range held {
		delete(lost, h.TaskRef)
		if h.CancelRequested {
			w.stop(h.TaskRef, errCancelled)
		}
	}
	for ref := range lost {
		w.stop(ref, errLost)
	}
}

func (w *Worker) refs() []store.TaskRef {
	w.mu.Lock()
	defer w.mu.Unlock()
	refs := make([]store.TaskRef, 0, len(w.held))
	for ref := range w.held {
		refs = append(refs, ref)
	}
	return refs
}

// stop is called with mu held.
func (w *Worker) stop(ref store.TaskRef, why error) {
	if a := w.held[ref]; a != nil {
		a.lost = a.lost || errors.Is(why, errLost)
		a.stop(why)
	}
}

//go:build linux

package torture

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/runwire/runwire/store/storetest/postgres"
)

const (
	workers = 3
	apis    = 2
	// betweenBlows is how often a process is struck, on average.
	betweenBlows = time.Second
	// patience is how long after the last blow all must have ended, beside the
	// time that a backlog takes, in which each task has backlog.
	patience = 90 * time.Second
	backlog  = 60 * time.Millisecond
	// afterKill is how long a killed worker's tasks may wait for another: the
	// lease is 30 s.
	afterKill = 35 * time.Second
	// afterTerm is that for a worker that was told to end: at once, unless those
	// who are given its task are killed before they have claimed it, twice over.
	afterTerm = drainTimeout + 5*time.Second
)

// scenario is what happens beside blows.
type scenario struct {
	name string
	// happens is called in the middle of the blows.
	happens func(*field)
	// atLeast is how long the blows go on.
	atLeast time.Duration
	// late is how much later than after a kill tasks may be taken over, however
	// their worker was struck: what it tells others may be lost.
	late time.Duration
}

var scenarios = []scenario{
	{name: "processes are killed"},
	{name: "NATS loses all", happens: func(f *field) { f.nats.wipe() }, late: 30 * time.Second},
	{name: "PostgreSQL restarts", happens: func(f *field) { f.restart(f.postgres.Stop) }, late: 30 * time.Second},
	{name: "PostgreSQL crashes", happens: func(f *field) { f.restart(f.postgres.Crash) }, late: 30 * time.Second},
	{name: "a worker is cut off from NATS", atLeast: 2*lead + cutOff, happens: func(f *field) {
		f.network.cut()
		f.wait(cutOff)
		f.network.mend()
	}, late: 30 * time.Second},
}

const (
	// lead is how long all goes well before a worker is cut off, and after.
	lead = 10 * time.Second
	// cutOff is for how long.
	cutOff = 60 * time.Second
)

// TestTorture has every task end COMPLETED, once, and every account agree. With
// TORTURE_TASKS it runs all scenarios with so many tasks each, in the course of
// TORTURE_SECONDS (60); without, the first with few.
//
//nolint:tparallel // each scenario needs the machine
func TestTorture(t *testing.T) {
	t.Parallel()
	tasks, within, chosen := 100, 6*time.Second, scenarios[:1]
	if os.Getenv("TORTURE_TASKS") != "" {
		tasks, chosen = number(t, "TORTURE_TASKS", 0), scenarios
		within = time.Duration(number(t, "TORTURE_SECONDS", 60)) * time.Second
	}
	binary := build(t)
	for _, s := range chosen { //nolint:paralleltest // see above
		t.Run(s.name, func(t *testing.T) {
			newField(t, binary).torture(s, tasks, max(within, s.atLeast))
		})
	}
}

// field is all that takes part.
type field struct {
	t         *testing.T
	postgres  *postgres.Server
	books     books
	nats      *natsCluster
	network   *network // of the first worker
	model     *modelServer
	processes []*process // workers first
	clients   clients

	mu    sync.Mutex
	blows []blow
	begin time.Time
}

// blow is what struck a task's attempt.
type blow struct {
	held

	at     time.Time
	within time.Duration // until another attempt
}

func newField(t *testing.T, binary string) *field {
	t.Helper()
	f := &field{t: t, postgres: postgres.Start(t), nats: newNATSCluster(t), model: newModelServer(t)}
	database := f.postgres.Schema(t)
	f.books = openBooks(t, database)
	f.model.journaled = f.books.journaled
	f.network = newNetwork(t, local(f.nats.ports[0]))
	shared := []string{
		"--config=" + config(t, f.model.URL), "--database-url=" + database, "--rate-limit=0",
		"--drain-timeout=" + drainTimeout.String(), "--http-listen=off", "--log-format=text", "--log-level=warn",
	}
	start := func(name string, args ...string) {
		f.processes = append(f.processes, startProcess(t, name, binary, append(args, shared...)...))
	}
	for i := range workers {
		address := f.nats.url()
		if i == 0 {
			address = f.network.url()
		}
		start(fmt.Sprint("worker ", i), "--role=worker", fmt.Sprint("--workers=", slots), "--nats-url="+address, "--listen=127.0.0.1:0")
	}
	var addresses []string
	for i, port := range freePorts(t, apis) {
		addresses = append(addresses, local(port))
		start(fmt.Sprint("api ", i), "--role=api", "--nats-url="+f.nats.url(), "--listen="+local(port))
	}
	f.clients = dial(t, addresses)
	return f
}

// torture has users come for as long as blows fall, waits for the end of all
// tasks, and audits.
func (f *field) torture(s scenario, tasks int, within time.Duration) {
	ctx, cancel := context.WithTimeout(f.t.Context(), within+patience+time.Duration(tasks)*backlog+s.late)
	defer cancel()
	f.begin = time.Now()
	users := startCrowd(ctx, f.clients, tasks, within)
	var harm sync.WaitGroup
	harm.Go(func() { f.strike(ctx, within) })
	if s.happens != nil {
		harm.Go(func() {
			f.wait((within - s.atLeast) / 2)
			if s.atLeast > 0 {
				f.wait(lead)
			}
			s.happens(f)
		})
	}
	harm.Wait()
	users.group.Wait()
	close(users.errs)
	for err := range users.errs {
		f.t.Error(err)
	}
	if f.t.Failed() {
		return
	}
	f.audit(users.users)
	f.report(users.users, s.late)
}

// wait lets time pass.
func (f *field) wait(d time.Duration) {
	select {
	case <-time.After(d):
	case <-f.t.Context().Done():
	}
}

// strike strikes one process after the other. The first two are workers in the
// midst of their work, so that something is lost of each kind; afterwards one
// blow of four is a request to end. The blows have no beat: in step with the
// time after which a lost delivery comes again, they would hit that too.
func (f *field) strike(ctx context.Context, within time.Duration) {
	for victim, signal := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		f.awaitWork(ctx, f.processes[victim])
		f.blow(ctx, f.processes[victim], signal)
	}
	for time.Since(f.begin) < within-betweenBlows {
		select {
		case <-time.After(betweenBlows/2 + rand.N(betweenBlows)):
		case <-ctx.Done():
			return
		}
		signal := syscall.SIGKILL
		if rand.IntN(4) == 0 {
			signal = syscall.SIGTERM
		}
		f.blow(ctx, f.processes[rand.IntN(len(f.processes))], signal)
	}
}

// awaitWork returns once a worker has several tasks at once, as happens while
// some of them take long.
func (f *field) awaitWork(ctx context.Context, worker *process) {
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for {
		if running := worker.current.Load(); running != nil {
			if has, err := f.books.heldBy(ctx, running.Pid); err == nil && len(has) >= slots/2 {
				return
			}
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// blow strikes a process and notes what it had.
func (f *field) blow(ctx context.Context, victim *process, signal syscall.Signal) {
	at, within := time.Now(), afterTerm
	pid, ended := victim.strike(signal)
	if pid == 0 {
		return // it is being started
	}
	if signal == syscall.SIGKILL {
		within = afterKill
		<-ended
	}
	ctx, cancel := context.WithTimeout(ctx, oneCall)
	defer cancel()
	lost, err := f.books.heldBy(ctx, pid)
	if err != nil && !victim.excused.Load() { // nobody knows while there is no database
		f.t.Errorf("reading what %s had: %v", victim.name, err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, h := range lost {
		f.blows = append(f.blows, blow{held: h, at: at, within: within})
	}
}

// restart takes the database away for a moment. Whoever is started meanwhile
// may give up.
func (f *field) restart(stop func(testing.TB)) {
	for _, p := range f.processes {
		p.excused.Store(true)
	}
	stop(f.t)
	f.wait(2 * time.Second)
	f.postgres.Start(f.t)
	f.wait(2 * time.Second)
	for _, p := range f.processes {
		p.excused.Store(false)
	}
}

// audit holds all accounts against each other.
func (f *field) audit(users []*user) {
	accounts := f.books.read(f.t.Context(), f.t)
	if len(accounts) != len(users) {
		f.t.Errorf("%d tasks are kept of %d", len(accounts), len(users))
	}
	f.model.mu.Lock()
	defer f.model.mu.Unlock()
	for _, fault := range f.model.faults {
		f.t.Error(fault)
	}
	for _, u := range users {
		u.audit(accounts[u.id], f.model.asked[u.plan])
		for _, fault := range u.faults {
			f.t.Error(fault)
		}
	}
	f.books.auditSpend(f.t.Context(), f.t)
	calls, asked, whole := 0, 0, 0
	for _, a := range accounts {
		calls += a.calls
	}
	for _, steps := range f.model.asked {
		for _, times := range steps {
			asked += times
		}
	}
	for _, times := range f.model.whole {
		whole += times
	}
	f.t.Logf("%d calls were made of the model, %d answered to the end, %d booked; %d times nobody could say what was journaled",
		asked, whole, calls, f.model.blind)
}

// report checks how soon tasks were taken over, and that any were.
func (f *field) report(users []*user, late time.Duration) {
	byID := make(map[string]*user, len(users))
	joins := 0
	for _, u := range users {
		byID[u.id] = u
		joins += u.joins
	}
	slowest := make(map[time.Duration]time.Duration)
	taken := make(map[time.Duration]int)
	for _, b := range f.blows {
		next, known := byID[b.task].retrying[b.attempt+1]
		if !known {
			continue // it had ended, or who took it over was struck at once
		}
		taken[b.within]++
		after, most := next.Sub(b.at), b.within
		if late > 0 {
			most = afterKill + late
		}
		slowest[b.within] = max(slowest[b.within], after)
		if after > most {
			f.t.Errorf("%s was taken over %v after attempt %d was struck, want at most %v", b.task, after, b.attempt, most)
		}
	}
	for _, within := range []time.Duration{afterKill, afterTerm} {
		if taken[within] == 0 {
			f.t.Errorf("no task was taken over of those that should be within %v", within)
		}
	}
	f.t.Logf("%d tasks in %v; taken over: %d after a kill, at most %v, %d after a request to end, at most %v; watched in %d streams",
		len(users), time.Since(f.begin).Round(time.Second), taken[afterKill], slowest[afterKill].Round(time.Millisecond),
		taken[afterTerm], slowest[afterTerm].Round(time.Millisecond), joins)
}

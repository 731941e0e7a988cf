package bus_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/runwire/runwire/bus"
)

func open(t *testing.T) *bus.Bus {
	t.Helper()
	b, err := bus.Open(t.Context(), bus.Config{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

func dispatch(t *testing.T, b *bus.Bus, id string, p bus.Priority) {
	t.Helper()
	if _, err := b.Dispatch(t.Context(), bus.Dispatch{Tenant: "acme.eu", Task: id, Priority: p}); err != nil {
		t.Fatal(err)
	}
}

// next takes a task, or fails after a while.
func next(t *testing.T, p *bus.Puller) *bus.Delivery {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	d, _, err := p.Next(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// none says whether there is no task.
func none(t *testing.T, p *bus.Puller) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, _, err := p.Next(ctx, nil)
	return err != nil
}

func TestAFolderThatCanNotBeWrittenToIsToldAtOnce(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	unwritable := map[string]error{file: syscall.ENOTDIR, filepath.Join(file, "below"): syscall.ENOTDIR}
	if os.Geteuid() != 0 { // whom no mode stops
		fresh, used := t.TempDir(), t.TempDir()
		store := filepath.Join(used, server.JetStreamStoreDir)
		if err := errors.Join(os.Chmod(fresh, 0o500), os.Mkdir(store, 0o500)); err != nil {
			t.Fatal(err)
		}
		unwritable[fresh], unwritable[used] = fs.ErrPermission, fs.ErrPermission
	}
	for dir, cause := range unwritable {
		within := strings.TrimSuffix(dir, "/below") // the system stops at the file
		begin := time.Now()
		b, err := bus.Open(t.Context(), bus.Config{Dir: dir, Log: slog.New(slog.DiscardHandler)})
		if err == nil {
			b.Close()
		}
		if took := time.Since(begin); !errors.Is(err, cause) || !strings.Contains(err.Error(), within) || took > 5*time.Second {
			t.Errorf("%s: got %v after %v, want %v", dir, err, took, cause)
		}
	}
}

func TestATaskReachesWhoeverIsNext(t *testing.T) {
	t.Parallel()
	b := open(t)
	p := b.NewPuller()
	defer p.Close()
	dispatch(t, b, "t1", bus.Normal)
	if d := next(t, p); d.Tenant != "acme.eu" || d.Task != "t1" {
		t.Errorf("got %s of %s", d.Task, d.Tenant)
	}
	go b.DispatchSoon("acme.eu", "t2", bus.Low) // while it waits
	d := next(t, p)
	if d.Task != "t2" {
		t.Errorf("got %s", d.Task)
	}
	d.Ack()
	if !none(t, p) {
		t.Error("there is more")
	}
}

func TestManyAreDispatchedAtOnce(t *testing.T) {
	t.Parallel()
	b := open(t)
	var many []bus.Dispatch
	for i := range 1000 { // each of 500 twice
		many = append(many, bus.Dispatch{Tenant: "acme.eu", Task: fmt.Sprint(i / 2), Priority: bus.Normal})
	}
	if settled, err := b.Dispatch(t.Context(), many...); settled != len(many) || err != nil {
		t.Fatalf("%d are settled of %d: %v", settled, len(many), err)
	}
	p := b.NewPuller()
	defer p.Close()
	for i := range 500 {
		d := next(t, p)
		if d.Task != fmt.Sprint(i) {
			t.Fatalf("task %s came, want %d", d.Task, i)
		}
		d.Ack()
	}
}

func TestATaskIsGivenOnce(t *testing.T) {
	t.Parallel()
	b := open(t)
	p := b.NewPuller()
	defer p.Close()
	for range 3 {
		dispatch(t, b, "t1", bus.High)
	}
	d := next(t, p)
	dispatch(t, b, "t1", bus.High) // it is being claimed
	if !none(t, p) {
		t.Error("given twice")
	}
	d.Return(0)
	d = next(t, p)
	d.Ack()
	dispatch(t, b, "t2", bus.High) // behind the acknowledgement
	if d := next(t, p); d.Task != "t2" {
		t.Errorf("got %s", d.Task)
	}
}

// While all wait, nobody starves.
func TestPrioritiesShareTheWorkers(t *testing.T) {
	t.Parallel()
	b := open(t)
	for i := range 20 {
		for _, p := range []bus.Priority{bus.Low, bus.Normal, bus.High} {
			dispatch(t, b, fmt.Sprintf("%d-%d", p, i), p)
		}
	}
	p := b.NewPuller()
	defer p.Close()
	taken := map[string]int{}
	for range 20 {
		d := next(t, p)
		lane, _, _ := strings.Cut(d.Task, "-")
		taken[lane]++
		d.Ack()
	}
	if taken["3"] != 12 || taken["2"] != 6 || taken["1"] != 2 {
		t.Errorf("taken %v", taken)
	}
}

// What a pull brings that nobody waits for any more is another's at once.
func TestNothingIsKeptForLater(t *testing.T) {
	t.Parallel()
	b := open(t)
	idle, busy := b.NewPuller(), b.NewPuller()
	defer idle.Close()
	defer busy.Close()
	if !none(t, idle) { // its pulls wait in the server still
		t.Fatal("there is a task")
	}
	begin := time.Now()
	dispatch(t, b, "t1", bus.Normal)
	next(t, busy).Ack()
	if took := time.Since(begin); took > 2*time.Second {
		t.Errorf("it took %v", took)
	}
}

// An errand is taken only by one whom no task keeps busy, and a task that comes
// at the same time goes to another.
func TestTasksGoBeforeErrands(t *testing.T) {
	t.Parallel()
	b := open(t)
	p := b.NewPuller()
	defer p.Close()
	errands := make(chan bus.Errand)
	sent := make(chan struct{})
	dispatch(t, b, "t1", bus.Low)
	go func() {
		errands <- func(context.Context) {}
		close(sent)
	}()
	if d, errand, err := p.Next(t.Context(), errands); err != nil || errand != nil || d.Task != "t1" {
		t.Fatalf("%v, %v", d, err)
	} else {
		d.Ack()
	}
	if d, errand, err := p.Next(t.Context(), errands); err != nil || d != nil || errand == nil {
		t.Fatalf("%v, %v", d, err)
	}
	<-sent
	other := b.NewPuller()
	defer other.Close()
	begin := time.Now()
	dispatch(t, b, "t2", bus.Normal) // p's pulls wait in the server still
	if d := next(t, other); d.Task != "t2" || time.Since(begin) > 2*time.Second {
		t.Errorf("%s after %v", d.Task, time.Since(begin))
	}
}

// far opens a bus to a server of its own that is reached by a port.
func far(t *testing.T) *bus.Bus {
	t.Helper()
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoLog: true, NoSigs: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(time.Minute) {
		t.Fatal("NATS does not start")
	}
	b, err := bus.Open(t.Context(), bus.Config{URL: s.ClientURL(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

func TestEventsReachThoseWhoListen(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(*testing.T) *bus.Bus{"embedded": open, "far": far} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := open(t)
			listen := func(task string) (<-chan string, *bus.Subscription) {
				t.Helper()
				got := make(chan string, 100)
				sub, err := b.SubscribeEvents("acme.eu", task, func(events []byte) { got <- string(events) })
				if err != nil {
					t.Fatal(err)
				}
				return got, sub
			}
			got, sub := listen("t1")
			too, gone := listen("t1")
			other, _ := listen("t2")
			b.PublishEvents("acme", "t1", []byte("another tenant's"))
			for i := range 50 {
				b.PublishEvents("acme.eu", "t1", fmt.Append(nil, i))
			}
			for i := range 50 {
				if one, two := <-got, <-too; one != fmt.Sprint(i) || two != one {
					t.Fatalf("got %q, %q as number %d", one, two, i)
				}
			}
			gone.Close()
			b.PublishEvents("acme.eu", "t1", []byte("more"))
			b.PublishEvents("acme.eu", "t2", []byte("last"))
			if more, last := <-got, <-other; more != "more" || last != "last" {
				t.Errorf("got %q, %q", more, last)
			}
			sub.Close()
			sub.Close() // harms nobody

			// One who leaves in the middle hears nothing of the rest.
			heard, hear := make(chan string, 10), make(chan struct{})
			leaving, err := b.SubscribeEvents("acme.eu", "t1", func(events []byte) {
				heard <- string(events)
				<-hear
			})
			if err != nil {
				t.Fatal(err)
			}
			stays, _ := listen("t1")
			b.PublishEvents("acme.eu", "t1", []byte("first"))
			if first := <-heard; first != "first" {
				t.Errorf("got %q", first)
			}
			b.PublishEvents("acme.eu", "t1", []byte("second"))
			leaving.Close()
			close(hear)
			for i := range 50 {
				b.PublishEvents("acme.eu", "t1", fmt.Append(nil, i))
			}
			for range 52 {
				<-stays
			}
			if len(too) > 0 || len(got) > 0 || len(heard) > 0 {
				t.Error("one who has left hears more")
			}

			cancels := make(chan string, 1)
			if _, err := b.SubscribeCancels(func(tenant, task string) { cancels <- tenant + " " + task }); err != nil {
				t.Fatal(err)
			}
			b.PublishCancel("acme.eu", "t1")
			if c := <-cancels; c != "acme.eu t1" {
				t.Errorf("got %q", c)
			}
		})
	}
}

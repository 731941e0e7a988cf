package bus_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

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
	d, err := p.Next(ctx)
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
	_, err := p.Next(ctx)
	return err != nil
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

func TestEventsReachThoseWhoListen(t *testing.T) {
	t.Parallel()
	b := open(t)
	got := make(chan string, 10)
	sub, err := b.SubscribeEvents("acme.eu", "t1", func(events []byte) { got <- string(events) })
	if err != nil {
		t.Fatal(err)
	}
	b.PublishEvents("acme", "t1", []byte("another tenant's"))
	b.PublishEvents("acme.eu", "t1", []byte("one"))
	b.PublishEvents("acme.eu", "t1", []byte("two"))
	if one, two := <-got, <-got; one != "one" || two != "two" {
		t.Errorf("got %q, %q", one, two)
	}
	sub.Close()
	cancels := make(chan string, 1)
	if _, err := b.SubscribeCancels(func(tenant, task string) { cancels <- tenant + " " + task }); err != nil {
		t.Fatal(err)
	}
	b.PublishCancel("acme.eu", "t1")
	if c := <-cancels; c != "acme.eu t1" {
		t.Errorf("got %q", c)
	}
}

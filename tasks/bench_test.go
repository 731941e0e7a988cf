package tasks_test

import (
	"sync/atomic"
	"testing"
	"time"

	agentv1 "github.com/runwire/runwire/gen/agent/v1"
)

// BenchmarkSubmit is a durable submit, of 32 callers at once.
func BenchmarkSubmit(b *testing.B) {
	h := newHouse(b)
	r := h.replica(0, 0)
	b.SetParallelism(16)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := r.Submit(b.Context(), tenant, "", &agentv1.SubmitTaskRequest{Message: "Hello?", UserId: "ann"}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkTask is a task from its submit to its end, 32 at once.
func BenchmarkTask(b *testing.B) {
	h := newHouse(b)
	h.model.plays(turn{say: []string{"Yes."}})
	r := h.replica(32, time.Second)
	b.SetParallelism(16)
	b.ReportAllocs()
	var events atomic.Int64
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			task, err := r.Submit(b.Context(), tenant, "", &agentv1.SubmitTaskRequest{Message: "Hello?", UserId: "ann"})
			if err != nil {
				b.Fatal(err)
			}
			if err := r.Watch(b.Context(), tenant, task.GetTaskId(), 0, func(*agentv1.RunEvent) error {
				events.Add(1)
				return nil
			}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

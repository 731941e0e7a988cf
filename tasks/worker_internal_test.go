package tasks

import (
	"context"
	"log/slog"
	"testing"

	"github.com/runwire/runwire/store"
)

// A task is lost whatever its try was stopped for before: else its end would be
// tried for as long as the store is away.
func TestATaskIsLostWhateverCameBefore(t *testing.T) {
	t.Parallel()
	for _, before := range []error{nil, errHandBack, errCancelled} {
		w := newWorker(&Service{Config: Config{Log: slog.New(slog.DiscardHandler)}})
		task := &store.Task{TaskSpec: store.TaskSpec{Tenant: "acme", ID: "task_1"}, Attempt: 1}
		a := newAttempt(context.Background(), w.service, task)
		w.held[task.Ref()] = a
		if before != nil {
			a.stop(before)
		}
		if w.lost(task.Ref()) {
			t.Errorf("stopped for %v it is lost", before)
		}
		w.stop(task.Ref(), errLost)
		if !w.lost(task.Ref()) {
			t.Errorf("stopped for %v it is not lost", before)
		}
	}
}

package tasks

import (
	"testing"
	"testing/synctest"
	"time"

	agentv1 "github.com/runwire/runwire/gen/agent/v1"
)

// What is told only once it is kept, is in the store with all that came before.
func TestAWatcherLooksAtOnceForWhatIsKept(t *testing.T) {
	t.Parallel()
	delta := entry{event: &agentv1.RunEvent{Event: &agentv1.RunEvent_TextDelta{}}}
	finished := entry{event: &agentv1.RunEvent{Event: &agentv1.RunEvent_Finished{Finished: &agentv1.RunFinished{}}}}
	for name, c := range map[string]struct {
		early []entry
		want  time.Duration
	}{
		"after a delta":      {[]entry{delta}, soon},
		"after what is lost": {nil, soon},
		"after the end":      {[]entry{delta, finished}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				begin := time.Now()
				if err := (&watcher{}).wait(t.Context(), c.early); err != nil {
					t.Fatal(err)
				}
				if waited := time.Since(begin); waited != c.want {
					t.Errorf("it waits %v, want %v", waited, c.want)
				}
			})
		})
	}
}

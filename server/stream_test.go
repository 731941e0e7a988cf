package server

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/runwire/runwire/config"
	agentv1 "github.com/runwire/runwire/gen/agent/v1"
)

// A model that speaks faster than the transport takes it: words are joined,
// none is lost, and the numbers prove it.
func TestAFastModelsWordsAreJoinedOnTheWay(t *testing.T) {
	t.Parallel()
	const words = 4000
	f := serve(t, func(c *Config) { c.File = file(offlineAgent("default", config.OfflineOptions{Tokens: words})) })
	stream, err := agentv1.NewAgentServiceClient(f.dial(t)).StreamRun(t.Context(),
		&agentv1.StreamRunRequest{Message: "Go on.", UserId: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	var last, merged int64
	var result *agentv1.RunResult
	for {
		response, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		event := response.GetEvent()
		if event.GetSequence() != last+1+event.GetMerged() {
			t.Fatalf("sequence %d with %d merged follows %d", event.GetSequence(), event.GetMerged(), last)
		}
		last = event.GetSequence()
		merged += event.GetMerged()
		text.WriteString(event.GetTextDelta().GetText())
		result = event.GetFinished().GetResult()
	}
	if got := len(strings.Fields(text.String())); got != words || text.String() != result.GetContent() {
		t.Errorf("%d words of %d came", got, words)
	}
	if merged == 0 || last != words+3 { // and started, iteration_finished, finished
		t.Errorf("%d joined, %d events", merged, last)
	}
}

func TestOnlyASendThatLastsIsAStall(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		began   time.Duration // before now; 0 is that nothing is being sent
		stalled bool
	}{
		"nothing is being sent":  {0, false},
		"a send has just begun":  {time.Minute, false},
		"a send lasts too long":  {2 * time.Hour, true},
		"a send lasts just long": {time.Hour, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var cause error
			s := &sender{
				ctx: t.Context(), stall: time.Hour, stalled: make(chan struct{}),
				cancel: func(err error) { cause = err }, timer: time.NewTimer(time.Hour),
			}
			if tt.began > 0 {
				s.sending.Store(time.Now().Add(-tt.began).UnixNano())
			}
			s.watch()
			if errors.Is(cause, errStalled) != tt.stalled {
				t.Error(cause)
			}
		})
	}
}

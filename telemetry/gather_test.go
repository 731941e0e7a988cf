package telemetry

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// writes is what came of each call of Write.
type writes struct {
	mu   sync.Mutex
	all  []string
	fail error
}

func (w *writes) failing(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fail = err
}

func (w *writes) were() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.all)
}

func (w *writes) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fail != nil {
		return 0, w.fail
	}
	w.all = append(w.all, string(p))
	return len(p), nil
}

func TestLinesAreGathered(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		use  func(g *Gatherer)
		want []string
	}{
		"one alone is written at once": {func(g *Gatherer) { say(g, "a") }, []string{"a\n"}},
		"those that come fast go together": {func(g *Gatherer) {
			say(g, "a", "b", "c")
			pass(2 * gathering)
		}, []string{"a\n", "b\nc\n"}},
		"after a pause one is alone again": {func(g *Gatherer) {
			say(g, "a", "b")
			pass(3 * gathering)
			say(g, "c")
		}, []string{"a\n", "b\n", "c\n"}},
		"close writes what waits, and the rest at once": {func(g *Gatherer) {
			say(g, "a", "b")
			_ = g.Close()
			say(g, "c", "d")
		}, []string{"a\n", "b\n", "c\n", "d\n"}},
		"many bytes do not wait": {func(g *Gatherer) {
			say(g, "a", strings.Repeat("b", maxGathered))
		}, []string{"a\n", strings.Repeat("b", maxGathered) + "\n"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var w writes
				g := Gather(&w)
				c.use(g)
				if got := w.were(); !slices.Equal(got, c.want) {
					t.Errorf("got %q, want %q", got, c.want)
				}
				if err := g.Close(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func TestWhatCannotBeWrittenLateIsToldToTheNext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		full := errors.New("disk full")
		var w writes
		g := Gather(&w)
		say(g, "a", "b")
		w.failing(full)
		pass(3 * gathering)
		if _, err := g.Write([]byte("c\n")); !errors.Is(err, full) {
			t.Errorf("got error %v", err)
		}
		w.failing(nil)
		say(g, "d")
		if err := g.Close(); err != nil {
			t.Error(err)
		}
		if got, want := w.were(), []string{"a\n", "d\n"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func say(g *Gatherer, lines ...string) {
	for _, line := range lines {
		_, _ = fmt.Fprintln(g, line)
	}
}

// pass lets time pass in a bubble, where none is lost.
func pass(d time.Duration) {
	time.Sleep(d) //nolint:forbidigo // see above
	synctest.Wait()
}

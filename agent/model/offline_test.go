package model

import (
	"context"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func newTestOffline(t testing.TB, opts OfflineOptions) Model {
	t.Helper()
	m, err := NewOffline(opts)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// asked is a request that says text, with every tool that the rules know.
func asked(text string) *Request {
	return &Request{
		Messages: []Message{{Role: RoleUser, Text: text}},
		Tools: []Tool{
			{Name: "calculator"}, {Name: "current_time"}, {Name: "memory_save"}, {Name: "memory_search"}, {Name: "http_get"},
		},
		MaxOutputTokens: 1000,
	}
}

func TestOfflineIsDeterministic(t *testing.T) {
	t.Parallel()
	for _, opts := range []OfflineOptions{{}, {Tokens: 100}} {
		for _, text := range []string{"Hello!", "What is 2+2 and 3+3?"} {
			var first, second spoken
			a, errA := newTestOffline(t, opts).Generate(t.Context(), asked(text), first.speak)
			b, errB := newTestOffline(t, opts).Generate(t.Context(), asked(text), second.speak)
			if errA != nil || errB != nil || !reflect.DeepEqual(a, b) || !reflect.DeepEqual(first.deltas, second.deltas) {
				t.Errorf("%q: %+v (%v) and %+v (%v)", text, a, errA, b, errB)
			}
		}
	}
}

func TestOfflineTokens(t *testing.T) {
	t.Parallel()
	tests := []struct {
		tokens int
		most   int64
		words  int
		stop   Stop
	}{
		{1, 1000, 1, StopEnd},
		{256, 1000, 256, StopEnd},
		{256, 256, 256, StopEnd},
		{256, 10, 10, StopLength},
	}
	for _, tt := range tests {
		req := asked("What is 2+2?")
		req.MaxOutputTokens = tt.most
		m := newTestOffline(t, OfflineOptions{Tokens: tt.tokens})
		var heard spoken
		reply, err := m.Generate(t.Context(), req, heard.speak)
		if err != nil {
			t.Fatal(err)
		}
		want := Reply{Stop: tt.stop, ResponseModel: OfflineName, Usage: Usage{InputTokens: m.InputTokens(req), OutputTokens: int64(tt.words)}}
		if !reflect.DeepEqual(reply, want) {
			t.Errorf("%+v: reply %+v, want %+v", tt, reply, want)
		}
		text := heard.text.String()
		if len(heard.deltas) != tt.words || len(strings.Fields(text)) != tt.words || strings.TrimSpace(text) != text {
			t.Errorf("%+v: %d deltas of %q", tt, len(heard.deltas), text)
		}
	}
}

// A reply never passes MaxOutputTokens, whatever kind it is.
func TestOfflineKeepsToItsLength(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"Hello!", "What is 2+2?"} {
		for most := int64(1); most < 40; most++ {
			req := asked(text)
			req.MaxOutputTokens = most
			var heard spoken
			reply, err := newTestOffline(t, OfflineOptions{}).Generate(t.Context(), req, heard.speak)
			checkReply(t, reply, err)
			if err != nil || reply.Usage.OutputTokens > most {
				t.Errorf("%q within %d: %+v, error %v", text, most, reply, err)
			}
			if most < 5 && reply.Stop != StopLength {
				t.Errorf("%q within %d: stopped for %q", text, most, reply.Stop)
			}
		}
	}
}

// Each word comes at its own time, also after a reader has dawdled.
func TestOfflinePace(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		opts    OfflineOptions
		dawdle  time.Duration // by the reader, at the second word
		arrives []time.Duration
	}{
		{
			"interval",
			OfflineOptions{Tokens: 4, TokenInterval: 50 * time.Millisecond},
			0,
			[]time.Duration{0, 50 * time.Millisecond, 100 * time.Millisecond, 150 * time.Millisecond},
		},
		{
			"first delay",
			OfflineOptions{Tokens: 3, FirstTokenDelay: time.Second},
			0,
			[]time.Duration{time.Second, time.Second, time.Second},
		},
		{
			"both",
			OfflineOptions{Tokens: 3, FirstTokenDelay: time.Second, TokenInterval: time.Minute},
			0,
			[]time.Duration{time.Second, 61 * time.Second, 121 * time.Second},
		},
		{
			"late once, then on time",
			OfflineOptions{Tokens: 5, TokenInterval: time.Second},
			1500 * time.Millisecond,
			[]time.Duration{0, time.Second, 2500 * time.Millisecond, 3 * time.Second, 4 * time.Second},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				var arrived []time.Duration
				_, err := newTestOffline(t, tt.opts).Generate(t.Context(), asked("Hi"), func(Delta) {
					arrived = append(arrived, time.Since(start))
					if len(arrived) == 2 {
						_ = sleep(t.Context(), tt.dawdle)
					}
				})
				if err != nil || !reflect.DeepEqual(arrived, tt.arrives) {
					t.Errorf("arrived at %v, want %v; error %v", arrived, tt.arrives, err)
				}
			})
		})
	}
}

func TestOfflineDelaysToolCallsToo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		reply, err := newTestOffline(t, OfflineOptions{FirstTokenDelay: time.Second}).Generate(t.Context(), asked("2+2"), func(Delta) {})
		if err != nil || len(reply.ToolCalls) != 1 || time.Since(start) != time.Second {
			t.Errorf("%+v after %v, error %v", reply, time.Since(start), err)
		}
	})
}

func TestOfflineCancel(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		opts   OfflineOptions
		output int64 // that was said, and is billed
	}{
		"between words without a pace": {OfflineOptions{Tokens: 1 << 30}, 3},
		"between paced words":          {OfflineOptions{Tokens: 100, TokenInterval: time.Hour}, 3},
		"of rules":                     {OfflineOptions{}, 3},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				said := 0
				m := newTestOffline(t, tt.opts)
				reply, err := m.Generate(ctx, asked("Hi"), func(Delta) {
					if said++; said == 3 {
						cancel()
					}
				})
				if !errors.Is(err, context.Canceled) || said != 3 {
					t.Errorf("error %v after %d words", err, said)
				}
				if reply.Usage.InputTokens != m.InputTokens(asked("Hi")) || reply.Usage.OutputTokens < 3 {
					t.Errorf("usage %+v", reply.Usage)
				}
			})
		})
	}
	t.Run("while it waits for the first", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			start := time.Now()
			_, err := newTestOffline(t, OfflineOptions{FirstTokenDelay: time.Hour}).Generate(ctx, asked("2+2"), func(Delta) {})
			if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
				t.Errorf("error %v after %v", err, time.Since(start))
			}
		})
	})
	t.Run("before it starts", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		reply, err := newTestOffline(t, OfflineOptions{FailRate: 1}).Generate(ctx, asked("Hi"), func(Delta) { t.Error("spoke") })
		if !errors.Is(err, context.Canceled) || !reflect.DeepEqual(reply, Reply{}) {
			t.Errorf("reply %+v, error %v", reply, err)
		}
	})
}

func TestOfflineFailRate(t *testing.T) {
	t.Parallel()
	const calls = 2000
	failures := func(rate float64) (pattern []bool, share float64) {
		m := newTestOffline(t, OfflineOptions{FailRate: rate, Tokens: 1})
		n := 0
		for range calls {
			reply, err := m.Generate(t.Context(), asked("Hi"), func(Delta) { n++ })
			if failed := err != nil; failed && (kindOf(err) != KindUnavailable || reply.Usage != (Usage{})) {
				t.Fatalf("error %v, usage %+v", err, reply.Usage)
			}
			pattern = append(pattern, err != nil)
		}
		return pattern, 1 - float64(n)/calls
	}
	for _, rate := range []float64{0, 0.01, 0.3, 0.5, 1} {
		pattern, share := failures(rate)
		if math.Abs(share-rate) > 3*math.Sqrt(rate*(1-rate)/calls) {
			t.Errorf("rate %v: %v failed", rate, share)
		}
		if again, _ := failures(rate); !reflect.DeepEqual(pattern, again) {
			t.Errorf("rate %v: other calls failed the second time", rate)
		}
	}
}

func TestOfflineRefusesOptionsOutOfRange(t *testing.T) {
	t.Parallel()
	for option, opts := range map[string]OfflineOptions{
		"tokens":            {Tokens: -1},
		"token_interval":    {TokenInterval: -1},
		"first_token_delay": {FirstTokenDelay: -1},
		"fail_rate":         {FailRate: 1.01},
	} {
		if m, err := NewOffline(opts); err == nil || m != nil || !strings.Contains(err.Error(), option) {
			t.Errorf("%+v: model %v, error %v", opts, m, err)
		}
	}
	if _, err := NewOffline(OfflineOptions{FailRate: math.NaN()}); err == nil {
		t.Error("a fail_rate of NaN was taken")
	}
}

// A streamed token allocates nothing; a paced reply, its timer alone.
//
//nolint:paralleltest // AllocsPerRun counts the whole process's.
func TestOfflineAllocations(t *testing.T) {
	req := asked("Hi")
	speak := func(Delta) {}
	for name, tt := range map[string]struct {
		opts OfflineOptions
		most float64
	}{
		"as fast as it is taken": {OfflineOptions{Tokens: 256}, 0},
		"paced":                  {OfflineOptions{Tokens: 16, TokenInterval: time.Nanosecond}, 4},
	} {
		m := newTestOffline(t, tt.opts)
		allocs := testing.AllocsPerRun(100, func() {
			if _, err := m.Generate(t.Context(), req, speak); err != nil {
				t.Fatal(err)
			}
		})
		if allocs > tt.most {
			t.Errorf("%s: %v allocations a reply, want at most %v", name, allocs, tt.most)
		}
	}
}

func BenchmarkOffline64(b *testing.B) {
	m := newTestOffline(b, OfflineOptions{Tokens: 64})
	req := asked("Hi")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := m.Generate(b.Context(), req, func(Delta) {}); err != nil {
			b.Fatal(err)
		}
	}
}

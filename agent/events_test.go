package agent

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"

	agentv1 "github.com/runwire/runwire/gen/agent/v1"
	"pgregory.net/rapid"
)

func iteration() *agentv1.RunEvent {
	return &agentv1.RunEvent{Event: &agentv1.RunEvent_IterationFinished{IterationFinished: &agentv1.IterationFinished{}}}
}

func TestEventsKeepUp(t *testing.T) {
	t.Parallel()
	e := NewEvents()
	for _, word := range []string{"one ", "two ", "three"} {
		e.speak(t.Context(), "", word, false)
		got, err := e.Next(t.Context())
		if err != nil || got.GetMerged() != 0 || got.GetTextDelta().GetText() != word || got.GetCreateTime().AsTime().IsZero() {
			t.Errorf("%v, %v", got, err)
		}
	}
}

// Whatever is written in whatever order, and however slowly it is read,
// nothing is lost, nothing joined that is not adjacent and alike, and every
// number is accounted for.
func TestEventsLoseNothing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		e := NewEvents()
		ctx := t.Context()
		var written, read strings.Builder // t text, r reasoning, n text within a tool call, | another event
		var last int64
		take := func() {
			got, err := e.Next(ctx)
			if err != nil {
				rt.Fatal(err)
			}
			if got.GetSequence() != last+1+got.GetMerged() {
				rt.Fatalf("sequence %d with %d merged follows %d", got.GetSequence(), got.GetMerged(), last)
			}
			last = got.GetSequence()
			switch {
			case got.GetTextDelta() != nil && got.GetToolCallId() == "a":
				read.WriteString(alike(rt, "n", got, got.GetTextDelta().GetText()))
			case got.GetTextDelta() != nil:
				read.WriteString(alike(rt, "t", got, got.GetTextDelta().GetText()))
			case got.GetReasoningDelta() != nil:
				read.WriteString(alike(rt, "r", got, got.GetReasoningDelta().GetText()))
			default:
				read.WriteString("|")
			}
		}
		var plain strings.Builder
		for _, op := range rapid.SliceOf(rapid.SampledFrom([]string{"text", "reason", "within", "other", "read"})).Draw(rt, "ops") {
			switch op {
			case "text":
				e.speak(ctx, "", "t", false)
				plain.WriteString("t")
			case "reason":
				e.speak(ctx, "", "r", true)
				plain.WriteString("r")
			case "within":
				e.speak(ctx, "a", "n", false)
				plain.WriteString("n")
			case "other":
				e.emit(ctx, iteration())
				plain.WriteString("|")
			case "read":
				if int64(plain.Len()) > last {
					take()
				}
			}
		}
		e.close()
		for int64(plain.Len()) > last {
			take()
		}
		if _, err := e.Next(ctx); !errors.Is(err, io.EOF) {
			rt.Fatalf("after the last: %v", err)
		}
		written.WriteString(plain.String())
		if got := read.String(); got != written.String() {
			rt.Fatalf("wrote %q, read %q", written.String(), got)
		}
	})
}

// alike is the text of a delta, which must be nothing but the pieces it says.
func alike(rt *rapid.T, piece string, event *agentv1.RunEvent, text string) string {
	if text != strings.Repeat(piece, int(event.GetMerged())+1) {
		rt.Fatalf("%q is not %d times %q", text, event.GetMerged()+1, piece)
	}
	return text
}

func TestEventsHoldTheWriterBackAtTheLimit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := NewEvents()
		ctx, cancel := context.WithCancel(t.Context())
		wrote := 0
		go func() {
			for ctx.Err() == nil {
				e.speak(ctx, "", strings.Repeat("x", 1<<10), false)
				wrote++
			}
			e.close()
		}()
		synctest.Wait()
		if wrote != waitingLimit>>10 {
			t.Errorf("%d KiB were taken before anything was read", wrote)
		}
		got, err := e.Next(ctx)
		if err != nil || len(got.GetTextDelta().GetText()) != waitingLimit {
			t.Error(err)
		}
		synctest.Wait()
		if wrote != 2*waitingLimit>>10 {
			t.Errorf("%d KiB were taken after 64 KiB were read", wrote)
		}
		cancel() // what is said while the run ends is kept
		synctest.Wait()
		if got, err = e.Next(context.WithoutCancel(ctx)); err != nil || len(got.GetTextDelta().GetText()) != waitingLimit+1<<10 {
			t.Error(len(got.GetTextDelta().GetText()), err)
		}
	})
}

func TestEventsReaderCanLeave(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		left := make(chan error, 1)
		go func() {
			_, err := NewEvents().Next(ctx)
			left <- err
		}()
		synctest.Wait()
		cancel()
		if err := <-left; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

func BenchmarkEventsKeepingUp(b *testing.B) {
	b.ReportAllocs()
	e := NewEvents()
	for b.Loop() {
		e.speak(b.Context(), "", "word ", false)
		if _, err := e.Next(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEventsJoining(b *testing.B) {
	b.ReportAllocs()
	e := NewEvents()
	ctx := b.Context()
	for i := 0; b.Loop(); i++ {
		e.speak(ctx, "", "word ", false)
		if i%1000 == 999 {
			if _, err := e.Next(ctx); err != nil {
				b.Fatal(err)
			}
		}
	}
}

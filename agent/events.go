package agent

import (
	"context"
	"io"
	"sync"
	"time"

	agentv1 "github.com/runwire/runwire/gen/agent/v1"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// waitingLimit is how many bytes of events may wait for a slow reader before
// the run waits for it too.
const waitingLimit = 64 << 10

// Events carries one run's events from the loop to one reader. It numbers
// them, joins adjacent deltas while the reader is slow, and holds the run back
// once 64 KiB wait; nothing is dropped. One goroutine writes, one reads.
//
// A nil *Events is a run that nobody watches; what is written to it is gone.
type Events struct {
	mu       sync.Mutex
	sequence int64
	waiting  []Told
	delta    pendingDelta // follows waiting
	size     int          // bytes in waiting and delta
	closed   bool
	logged   bool // joined deltas remember their pieces

	ready chan struct{} // the reader may find something
	room  chan struct{} // the writer may find room
}

// Told is an event and, of joined deltas, how they can be told apart.
type Told struct {
	// Event is nil where there is none.
	Event *agentv1.RunEvent
	// Pieces are the lengths in bytes of the deltas that the event joins; nil
	// for one, and where nobody has asked to remember them.
	Pieces []int
}

// pendingDelta is one delta, or several joined, not yet made into an event.
type pendingDelta struct {
	count     int64
	reasoning bool
	within    string // the tool call
	first     string // all of it while count is 1, so that a reader that keeps up costs no copy
	joined    []byte // all of it once count is more
	pieces    []int  // of joined, if they are remembered
	at        time.Time
}

// NewEvents returns the way from one run to one reader.
func NewEvents() *Events {
	return &Events{ready: make(chan struct{}, 1), room: make(chan struct{}, 1)}
}

// NewLog returns the way from one run to an event log whose last event was
// numbered after. Joined deltas remember their pieces, so that a reader of the
// log can go on behind each of them.
func NewLog(after int64) *Events {
	e := NewEvents()
	e.sequence, e.logged = after, true
	return e
}

// Next returns the next event, waiting for it. It returns io.EOF after the
// last one, and the context's error when that ends first.
func (e *Events) Next(ctx context.Context) (*agentv1.RunEvent, error) {
	for {
		told, closed := e.take()
		switch {
		case told.Event != nil:
			return told.Event, nil
		case closed:
			return nil, io.EOF
		}
		select {
		case <-e.ready:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// TryNext returns the next event if there is one. Who takes events this way
// waits for Ready.
func (e *Events) TryNext() (Told, bool) {
	told, _ := e.take()
	return told, told.Event != nil
}

// Ready is signalled when there may be something for TryNext.
func (e *Events) Ready() <-chan struct{} { return e.ready }

// take returns what waits first, or nothing and whether all has come.
func (e *Events) take() (told Told, closed bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case len(e.waiting) > 0:
		told = e.waiting[0]
		e.waiting[0] = Told{}
		e.waiting = e.waiting[1:]
		e.size -= eventSize(told.Event)
	case e.delta.count > 0:
		e.size -= e.delta.len()
		told = e.sealDelta()
	default:
		return Told{}, e.closed
	}
	signal(e.room)
	return told, false
}

// speak adds a delta of what is said within a tool call, waiting for room until
// ctx is done. It takes it in any case: a run that is being ended must not lose
// what it has said.
func (e *Events) speak(ctx context.Context, within, text string, reasoning bool) {
	if e == nil {
		return
	}
	e.mu.Lock()
	e.awaitRoom(ctx)
	if e.delta.reasoning != reasoning || e.delta.within != within {
		e.flushDelta()
		e.delta.reasoning, e.delta.within = reasoning, within
	}
	e.sequence++
	e.size += len(text)
	e.delta.add(text, e.logged)
	e.mu.Unlock()
	signal(e.ready)
}

// emit adds an event that is no delta. The caller leaves its sequence and
// create_time to Events; what it says was merged, is left out of the numbers.
func (e *Events) emit(ctx context.Context, event *agentv1.RunEvent) {
	if e == nil {
		return
	}
	e.mu.Lock()
	e.awaitRoom(ctx)
	e.flushDelta()
	e.sequence += 1 + event.GetMerged()
	event.Sequence = e.sequence
	event.CreateTime = timestamppb.Now()
	e.waiting = append(e.waiting, Told{Event: event})
	e.size += eventSize(event)
	e.mu.Unlock()
	signal(e.ready)
}

// close says that nothing more will come.
func (e *Events) close() {
	if e == nil {
		return
	}
	e.mu.Lock()
	e.closed = true
	e.mu.Unlock()
	signal(e.ready)
}

// awaitRoom is called with mu held and returns with it held.
func (e *Events) awaitRoom(ctx context.Context) {
	for e.size >= waitingLimit && ctx.Err() == nil {
		e.mu.Unlock()
		select {
		case <-e.room:
		case <-ctx.Done():
		}
		e.mu.Lock()
	}
}

func (e *Events) flushDelta() {
	if e.delta.count > 0 {
		e.waiting = append(e.waiting, e.sealDelta())
	}
}

// deltaEvent holds a whole text event, so that making one is one allocation.
type deltaEvent struct {
	event agentv1.RunEvent
	time  timestamppb.Timestamp
	text  agentv1.RunEvent_TextDelta
	piece agentv1.TextDelta
}

// sealDelta makes the pending delta into its event. The last sequence given
// out is always the pending delta's.
func (e *Events) sealDelta() Told {
	d := &e.delta
	pieces := d.pieces
	d.pieces = nil
	made := &deltaEvent{}
	made.time.Seconds, made.time.Nanos = d.at.Unix(), int32(d.at.Nanosecond()) //nolint:gosec // below 10⁹.
	made.event.Sequence = e.sequence
	made.event.Merged = d.count - 1
	made.event.CreateTime = &made.time
	made.event.ToolCallId = d.within
	if d.reasoning {
		made.event.Event = &agentv1.RunEvent_ReasoningDelta{
			ReasoningDelta: &agentv1.ReasoningDelta{Text: d.take()},
		}
	} else {
		made.piece.Text = d.take()
		made.text.TextDelta = &made.piece
		made.event.Event = &made.text
	}
	return Told{Event: &made.event, Pieces: pieces}
}

func (d *pendingDelta) add(text string, remember bool) {
	switch d.count {
	case 0:
		d.first = text
	case 1:
		if remember {
			d.pieces = append(d.pieces, len(d.first))
		}
		d.joined = append(append(d.joined[:0], d.first...), text...)
		d.first = ""
	default:
		d.joined = append(d.joined, text...)
	}
	if remember && d.count > 0 {
		d.pieces = append(d.pieces, len(text))
	}
	d.count++
	d.at = time.Now()
}

func (d *pendingDelta) len() int { return len(d.first) + len(d.joined) }

// take empties d and returns its text. The room that joined took is kept for
// the next delta unless it is large.
func (d *pendingDelta) take() string {
	text := d.first
	if d.count > 1 {
		text = string(d.joined)
	}
	const keep = 1 << 10
	if d.joined = d.joined[:0]; cap(d.joined) > keep {
		d.joined = nil
	}
	d.count, d.first = 0, ""
	return text
}

// eventSize is roughly what an event that is no delta holds in memory. A delta
// counts by its text alone, joined or not.
func eventSize(event *agentv1.RunEvent) int {
	const fixed = 200
	switch e := event.GetEvent().(type) {
	case *agentv1.RunEvent_TextDelta:
		return len(e.TextDelta.GetText())
	case *agentv1.RunEvent_ReasoningDelta:
		return len(e.ReasoningDelta.GetText())
	case *agentv1.RunEvent_ToolCallStarted:
		return fixed + len(e.ToolCallStarted.GetArgumentsJson())
	case *agentv1.RunEvent_ToolCallFinished:
		return fixed + len(e.ToolCallFinished.GetOutput())
	default:
		return fixed
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

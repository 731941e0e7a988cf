package tasks

import (
	"encoding/binary"
	"errors"
	"fmt"

	agentv1 "github.com/runwire/runwire/gen/agent/v1"
	"google.golang.org/protobuf/proto"
)

// entry is an event as a task's log holds it, in SQL and on the bus. A joined
// delta keeps the lengths of its pieces, so that a watcher who has seen some
// of them gets just the others.
type entry struct {
	event *agentv1.RunEvent
	// pieces are the lengths in bytes of the deltas that the event joins; nil for one.
	pieces []int
}

var errEntry = errors.New("not an entry of an event log")

// appendTo adds the entry's encoding to b: the number of pieces, their
// lengths, and the event.
func (e entry) appendTo(b []byte) ([]byte, error) {
	b = binary.AppendUvarint(b, uint64(len(e.pieces)))
	for _, length := range e.pieces {
		b = binary.AppendUvarint(b, uint64(length)) //nolint:gosec // a length
	}
	b, err := proto.MarshalOptions{}.MarshalAppend(b, e.event)
	if err != nil {
		return nil, fmt.Errorf("encoding an event: %w", err)
	}
	return b, nil
}

func parseEntry(b []byte) (entry, error) {
	count, n := binary.Uvarint(b)
	if n <= 0 || count > uint64(len(b)) {
		return entry{}, errEntry
	}
	b = b[n:]
	var e entry
	for range count {
		length, n := binary.Uvarint(b)
		if n <= 0 || length > 1<<30 {
			return entry{}, errEntry
		}
		e.pieces = append(e.pieces, int(length))
		b = b[n:]
	}
	e.event = &agentv1.RunEvent{}
	if err := proto.Unmarshal(b, e.event); err != nil {
		return entry{}, fmt.Errorf("%w: %w", errEntry, err)
	}
	return e, nil
}

// first is the lowest number that the entry stands for.
func (e entry) first() int64 { return e.event.GetSequence() - e.event.GetMerged() }

// after is what of the event a reader gets who has all up to last: the whole
// of it, or a joined delta's later pieces; nil for nothing. What it leaves out
// counts as merged, so that the reader's numbers add up.
func (e entry) after(last int64) *agentv1.RunEvent {
	switch {
	case e.event.GetSequence() <= last:
		return nil
	case e.event.GetMerged() == e.event.GetSequence()-last-1:
		return e.event
	}
	seen := last - e.first() + 1 // pieces
	rest, _ := proto.Clone(e.event).(*agentv1.RunEvent)
	rest.Merged = e.event.GetSequence() - last - 1
	if seen <= 0 {
		return rest
	}
	skip := 0
	for _, length := range e.pieces[:min(seen, int64(len(e.pieces)))] {
		skip += length
	}
	switch event := rest.GetEvent().(type) {
	case *agentv1.RunEvent_TextDelta:
		event.TextDelta.Text = event.TextDelta.GetText()[min(skip, len(event.TextDelta.GetText())):]
	case *agentv1.RunEvent_ReasoningDelta:
		event.ReasoningDelta.Text = event.ReasoningDelta.GetText()[min(skip, len(event.ReasoningDelta.GetText())):]
	}
	return rest
}

// deltaKind is what deltas have in common that can be joined.
type deltaKind struct {
	reasoning bool
	within    string // the tool call
}

// delta is the text of a delta, and which kind it is.
func (e entry) delta() (text string, kind deltaKind, ok bool) {
	kind.within = e.event.GetToolCallId()
	switch event := e.event.GetEvent().(type) {
	case *agentv1.RunEvent_TextDelta:
		return event.TextDelta.GetText(), kind, true
	case *agentv1.RunEvent_ReasoningDelta:
		kind.reasoning = true
		return event.ReasoningDelta.GetText(), kind, true
	default:
		return "", kind, false
	}
}

// join puts adjacent deltas of one kind together. Its argument is spent.
func join(entries []entry) []entry {
	joined := entries[:0]
	for at := 0; at < len(entries); {
		end := at + 1
		if _, kind, ok := entries[at].delta(); ok {
			for end < len(entries) {
				if _, other, also := entries[end].delta(); !also || other != kind {
					break
				}
				end++
			}
		}
		joined = append(joined, joinDeltas(entries[at:end]))
		at = end
	}
	return joined
}

// joinDeltas makes one of several deltas of one kind.
func joinDeltas(entries []entry) entry {
	if len(entries) == 1 {
		return entries[0]
	}
	var all entry
	var text []byte
	_, kind, _ := entries[0].delta()
	for _, e := range entries {
		piece, _, _ := e.delta()
		text = append(text, piece...)
		if e.pieces == nil {
			all.pieces = append(all.pieces, len(piece))
		} else {
			all.pieces = append(all.pieces, e.pieces...)
		}
	}
	last := entries[len(entries)-1].event
	all.event = &agentv1.RunEvent{
		Sequence: last.GetSequence(), Merged: last.GetSequence() - entries[0].first(), CreateTime: last.GetCreateTime(),
		ToolCallId: kind.within,
	}
	if kind.reasoning {
		all.event.Event = &agentv1.RunEvent_ReasoningDelta{ReasoningDelta: &agentv1.ReasoningDelta{Text: string(text)}}
	} else {
		all.event.Event = &agentv1.RunEvent_TextDelta{TextDelta: &agentv1.TextDelta{Text: string(text)}}
	}
	return all
}

// batch is what goes over the bus at once: whose attempt it is, and entries.
func appendBatch(attempt int64, entries []entry) ([]byte, error) {
	b := binary.AppendUvarint(nil, uint64(attempt)) //nolint:gosec // from 1
	for _, e := range entries {
		encoded, err := e.appendTo(nil)
		if err != nil {
			return nil, err
		}
		b = binary.AppendUvarint(b, uint64(len(encoded)))
		b = append(b, encoded...)
	}
	return b, nil
}

func parseBatch(b []byte) (attempt int64, entries []entry, err error) {
	number, n := binary.Uvarint(b)
	if n <= 0 {
		return 0, nil, errEntry
	}
	for b = b[n:]; len(b) > 0; {
		length, n := binary.Uvarint(b)
		if n <= 0 || length > uint64(len(b)-n) { //nolint:gosec // a length
			return 0, nil, errEntry
		}
		e, err := parseEntry(b[n : n+int(length)]) //nolint:gosec // see above
		if err != nil {
			return 0, nil, err
		}
		entries = append(entries, e)
		b = b[n+int(length):] //nolint:gosec // see above
	}
	return int64(number), entries, nil //nolint:gosec // see appendBatch
}

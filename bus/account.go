package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/runwire/runwire/interceptors"
)

// ledger is where tallies are: a stream that keeps one message a subject.
type ledger struct {
	js       jetstream.JetStream
	self     string        // this replica
	patience time.Duration // how long callers wait for NATS

	mu      sync.Mutex
	stream  jetstream.Stream // nil until it was found
	created time.Time
}

// errAway: NATS did not answer in time, or the stream is not there.
var errAway = errors.New("nats is away")

// errConflict: another replica has written in between.
var errConflict = errors.New("another replica was first")

func (l *ledger) handle() jetstream.Stream {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stream
}

// found takes the stream, and says whether it is another one than before.
func (l *ledger) found(stream jetstream.Stream) (anew bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	created := stream.CachedInfo().Created
	anew = !l.created.IsZero() && !created.Equal(l.created)
	l.stream, l.created = stream, created
	return anew
}

// load reads a subject's tally and its sequence, 0 for none.
func (l *ledger) load(ctx context.Context, subject string) (tally, uint64, error) {
	stream := l.handle()
	if stream == nil || l.js.Conn().Status() != nats.CONNECTED {
		return tally{}, 0, errAway
	}
	kept, err := stream.GetLastMsgForSubject(ctx, subject)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return tally{}, 0, nil
	}
	if err != nil {
		return tally{}, 0, fmt.Errorf("%w: %w", errAway, err)
	}
	var read tally
	if err := json.Unmarshal(kept.Data, &read); err != nil {
		read = tally{} // of another version: counted anew
	}
	return read, kept.Sequence, nil
}

// save writes a subject's tally if its last sequence is still seq, for as long
// as ttl, and returns the new sequence; errConflict if it is not.
func (l *ledger) save(ctx context.Context, subject string, t tally, seq uint64, ttl time.Duration) (uint64, error) {
	if l.js.Conn().Status() != nats.CONNECTED {
		return 0, errAway // rather than have it sent when it is back
	}
	data, err := json.Marshal(t)
	if err != nil {
		return 0, fmt.Errorf("encoding a tally: %w", err)
	}
	ack, err := l.js.Publish(ctx, subject, data, jetstream.WithExpectLastSequencePerSubject(seq),
		jetstream.WithMsgTTL(max(ttl, time.Second)), jetstream.WithRetryAttempts(0))
	if failed, ok := errors.AsType[*jetstream.APIError](err); ok &&
		(failed.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || failed.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant) {
		return 0, errConflict
	}
	if err != nil {
		return 0, fmt.Errorf("%w: %w", errAway, err)
	}
	return ack.Sequence, nil
}

// account is a tally as this replica knows it. What several callers want of it
// at once becomes one write.
type account struct {
	subject string
	ledger  *ledger
	// ttl is how long a tally must be kept.
	ttl func(tally) time.Duration
	// refs and touched belong to the limiter.
	refs    int
	touched time.Time

	mu      sync.Mutex
	waiting []*change
	busy    bool
	// kept is the tally that was read or written last, as sequence seq.
	kept  tally
	seq   uint64
	known bool
	// shared: other replicas write it too, so that reading it first is cheaper
	// than to find out.
	shared bool
	// running is how many runs of it go on in this replica: what counts, should
	// the tally be lost or not be written.
	running int
	dirty   bool // running is not what the tally says
}

// draft is an account's tally in the making.
type draft struct {
	tally

	seq     uint64
	before  int // runs in this replica, when the draft was made
	running int
	written bool // there is something to save
	refused bool // somebody was refused
}

// change is what a caller wants of an account. It may be applied again, to
// another draft, until it is saved.
type change struct {
	apply func(*draft)
	done  chan struct{}
	err   error
}

// do applies a change and waits until it is saved; an error that wraps errAway
// means that it is not, as far as anyone knows.
func (a *account) do(ctx context.Context, apply func(*draft)) error {
	wanted := &change{apply: apply, done: make(chan struct{})}
	a.mu.Lock()
	a.waiting = append(a.waiting, wanted)
	if a.busy {
		a.mu.Unlock()
		<-wanted.done
		return wanted.err
	}
	a.busy = true
	a.mu.Unlock()
	a.serve(ctx)
	return wanted.err
}

// serve saves the changes that wait. Those that have come meanwhile another
// goroutine saves, so that nobody works for the others for long.
func (a *account) serve(ctx context.Context) {
	a.mu.Lock()
	together := a.waiting
	a.waiting = nil
	a.mu.Unlock()
	err := a.save(ctx, together)
	if errors.Is(err, errAway) { // who has come meanwhile need not find out again
		a.mu.Lock()
		together = append(together, a.waiting...)
		a.waiting = nil
		a.mu.Unlock()
	}
	for _, c := range together {
		c.err = err
		close(c.done)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.busy = len(a.waiting) > 0; a.busy {
		go a.serve(context.WithoutCancel(ctx))
	}
}

// save applies changes until they are kept. Only one call runs at a time.
func (a *account) save(ctx context.Context, changes []*change) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.ledger.patience)
	defer cancel()
	for fresh := false; ; {
		d, known := a.draft()
		if !known {
			read, seq, err := a.ledger.load(ctx, a.subject)
			if err != nil {
				return err
			}
			d.tally, d.seq, fresh = read, seq, true
			a.learn(read.clone(), seq)
		}
		for _, c := range changes {
			c.apply(&d)
		}
		if d.refused && !fresh { // others may have made room since
			a.doubt(draft{})
			continue
		}
		if !d.written {
			return nil
		}
		err := a.write(ctx, d)
		if !errors.Is(err, errConflict) {
			return err
		}
		fresh = false
	}
}

// draft is what this replica knows, and whether it knows anything.
func (a *account) draft() (draft, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return draft{tally: a.kept.clone(), seq: a.seq, before: a.running, running: a.running}, a.known && !a.shared
}

func (a *account) write(ctx context.Context, d draft) error {
	delete(d.Running, a.ledger.self)
	if d.running > 0 {
		if d.Running == nil {
			d.Running = make(map[string]int, 1)
		}
		d.Running[a.ledger.self] = d.running
	}
	seq, err := a.ledger.save(ctx, a.subject, d.tally, d.seq, a.ttl(d.tally))
	if err != nil {
		a.doubt(d)
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.kept, a.seq, a.known = d.tally, seq, true
	a.running += d.running - d.before
	a.dirty = a.running != d.running
	return nil
}

func (a *account) learn(read tally, seq uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.shared = seq != a.seq
	a.kept, a.seq, a.known = read, seq, true
}

// doubt says that a draft may have been saved, or not, or another's.
func (a *account) doubt(d draft) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.known, a.dirty = false, a.dirty || d.running != d.before
}

// lost says that the stream was made anew.
func (a *account) lost() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.known, a.dirty = false, a.running > 0
}

// run counts a run of this replica that begins or ends while nothing is saved.
func (a *account) run(change int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.running += change
	a.dirty = true
}

func (a *account) runs() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.running
}

func (a *account) isDirty() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.dirty
}

// wait is how long it is until a window has room, by what this replica knows.
func (a *account) wait(now int64, w interceptors.Window) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.kept.forget(now, w)
	return a.kept.wait(now, w)
}

package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// writer is the one that writes to a SQLite file. Writes that wait at the same
// time share a transaction, so they share what it costs to reach the disk, and
// are answered once it has.
type writer struct {
	dialect *dialect
	open    func(context.Context) (*sql.Conn, error)

	mu      sync.Mutex
	waiting []*write
	closing bool
	// wake has something in it when there is something to do.
	wake chan struct{}
	done chan struct{} // closed when nothing is written any more

	// conn is nil until the first write, and after the disk has failed.
	conn *writing
}

// write is one caller's part of a transaction.
type write struct {
	fn work
	// several: fn makes more than one statement.
	several bool
	err     error
	done    chan struct{}
}

const (
	// maxBatch bounds how many writes share a transaction, and so how long one waits.
	maxBatch = 512
	// After a transaction that a crowd has shared, the next waits for gathering:
	// what a commit costs is then shared by more.
	crowd     = 4
	gathering = 250 * time.Microsecond
)

func startWriter(ctx context.Context, d *dialect, open func(context.Context) (*sql.Conn, error)) *writer {
	w := newWriter(d, open)
	go w.run(context.WithoutCancel(ctx))
	return w
}

func newWriter(d *dialect, open func(context.Context) (*sql.Conn, error)) *writer {
	return &writer{dialect: d, open: open, wake: make(chan struct{}, 1), done: make(chan struct{})}
}

// do has fn run by the writer and returns once it is on the disk, or is not.
// A ctx that ends withdraws it only as long as it waits: afterwards the answer
// is at most one batch away, and is worth waiting for.
func (w *writer) do(ctx context.Context, fn work, several bool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	job := &write{fn: fn, several: several, done: make(chan struct{})}
	w.mu.Lock()
	if w.closing {
		w.mu.Unlock()
		return ErrClosed
	}
	w.waiting = append(w.waiting, job)
	w.mu.Unlock()
	w.awake()
	select {
	case <-job.done:
		return job.err
	case <-ctx.Done():
	}
	if w.withdraw(job) {
		return ctx.Err()
	}
	<-job.done
	return job.err
}

// withdraw takes back a job that still waits, and says whether it did.
func (w *writer) withdraw(job *write) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	at := slices.Index(w.waiting, job)
	if at >= 0 {
		w.waiting = slices.Delete(w.waiting, at, at+1)
	}
	return at >= 0
}

func (w *writer) awake() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// close ends the writer after the writes that wait. It may be called again.
func (w *writer) close() {
	w.mu.Lock()
	w.closing = true
	w.mu.Unlock()
	w.awake()
	<-w.done
}

func (w *writer) closed() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.closing
}

// run writes until it is told to stop. ctx never ends: SQLite gives up a whole
// transaction, others' writes too, when one of its statements is interrupted.
func (w *writer) run(ctx context.Context) {
	defer close(w.done)
	defer w.drop()
	for crowded := false; ; {
		if crowded {
			<-time.After(gathering)
		}
		jobs, more := w.take(maxBatch)
		switch {
		case len(jobs) > 0:
			crowded = w.batch(ctx, jobs) >= crowd
		case more:
			crowded = false
			<-w.wake
		default:
			return
		}
	}
}

// take takes up to most of the writes that wait, and says whether there may be
// more to come.
func (w *writer) take(most int) (jobs []*write, more bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	most = min(most, len(w.waiting))
	jobs = w.waiting[:most:most]
	w.waiting = w.waiting[most:]
	return jobs, !w.closing
}

// batch runs jobs, and those that come meanwhile, in one transaction, and
// answers them. It returns how many they were.
func (w *writer) batch(ctx context.Context, jobs []*write) int {
	jobs, failure := w.transact(ctx, jobs, false)
	if errors.Is(failure, errHalfDone) {
		if _, failure = w.conn.exec(ctx, "ROLLBACK"); failure == nil {
			jobs, failure = w.transact(ctx, jobs, true)
		}
	}
	if failure != nil {
		w.drop()
	}
	for _, job := range jobs {
		if failure != nil {
			job.err = failure
		}
		close(job.done)
	}
	return len(jobs)
}

// errHalfDone: a write has failed that may have changed something before.
var errHalfDone = errors.New("a write is half done")

// transact runs jobs, and those that come meanwhile, in one transaction, and
// returns all of them. Savepoints keep what is half done from being kept, and
// cost more than most writes do: they are set only on the second try.
func (w *writer) transact(ctx context.Context, jobs []*write, savepoints bool) ([]*write, error) {
	failure := w.begin(ctx)
	for next := 0; next < len(jobs); {
		if failure == nil {
			failure = w.perform(ctx, jobs[next], savepoints)
		}
		if next++; next == len(jobs) {
			late, _ := w.take(maxBatch - len(jobs))
			jobs = append(jobs, late...)
		}
	}
	if failure == nil {
		_, failure = w.conn.exec(ctx, "COMMIT")
	}
	return jobs, failure
}

func (w *writer) begin(ctx context.Context) error {
	if w.conn == nil {
		conn, err := w.open(ctx)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		w.conn = newWriting(w.dialect, conn)
	}
	_, err := w.conn.exec(ctx, "BEGIN IMMEDIATE")
	return err
}

// perform runs one write. Its own error is the caller's alone; the error
// returned is one that ends the whole transaction.
func (w *writer) perform(ctx context.Context, job *write, savepoint bool) error {
	savepoint = savepoint && job.several
	if savepoint {
		if _, err := w.conn.exec(ctx, "SAVEPOINT write"); err != nil {
			return err
		}
	}
	job.err = job.fn(ctx, w.conn.querier)
	switch {
	case errors.Is(job.err, ErrUnavailable):
		return job.err
	case !savepoint && job.several && job.err != nil:
		return errHalfDone
	case !savepoint:
		return nil
	}
	if job.err != nil {
		if _, err := w.conn.exec(ctx, "ROLLBACK TO write"); err != nil {
			return err
		}
	}
	_, err := w.conn.exec(ctx, "RELEASE write")
	return err
}

// drop closes the connection, which undoes what it has not committed; the next
// write opens another. After a failed disk nothing of the old one is trusted.
func (w *writer) drop() {
	if w.conn != nil {
		w.conn.close()
		w.conn = nil
	}
}

// writing is a connection that keeps its statements prepared.
type writing struct {
	querier

	conn     *sql.Conn
	prepared map[string]*sql.Stmt
}

func newWriting(d *dialect, conn *sql.Conn) *writing {
	w := &writing{conn: conn, prepared: map[string]*sql.Stmt{}}
	w.querier = querier{dialect: d, runner: w}
	return w
}

func (w *writing) statement(ctx context.Context, text string) (*sql.Stmt, error) {
	if prepared, ok := w.prepared[text]; ok {
		return prepared, nil
	}
	prepared, err := w.conn.PrepareContext(ctx, text)
	if err != nil {
		return nil, err //nolint:wrapcheck // the querier explains it
	}
	w.prepared[text] = prepared
	return prepared, nil
}

// ExecContext implements runner.
func (w *writing) ExecContext(ctx context.Context, text string, args ...any) (sql.Result, error) {
	prepared, err := w.statement(ctx, text) //nolint:sqlclosecheck // it is kept
	if err != nil {
		return nil, err
	}
	return prepared.ExecContext(ctx, args...) //nolint:wrapcheck // the querier explains it
}

// QueryContext implements runner.
func (w *writing) QueryContext(ctx context.Context, text string, args ...any) (*sql.Rows, error) {
	prepared, err := w.statement(ctx, text) //nolint:sqlclosecheck // it is kept
	if err != nil {
		return nil, err
	}
	return prepared.QueryContext(ctx, args...) //nolint:wrapcheck // the querier explains it
}

func (w *writing) close() {
	for _, prepared := range w.prepared {
		_ = prepared.Close() // the connection goes with it
	}
	_ = w.conn.Close() // what it had not committed is undone either way
}

package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime"
	"sync"
)

// writer is the one that writes to a SQLite file. Writes that wait at the same
// time share a transaction, so they share what it costs to reach the disk, and
// are answered once it has.
type writer struct {
	dialect *dialect
	open    func(context.Context) (*sql.Conn, error)

	// queue has no room: whoever waits in it can still leave.
	queue chan *write
	stop  chan struct{}
	once  sync.Once
	done  chan struct{}

	// conn is nil until the first write, and after the disk has failed.
	conn *writing
}

// write is one caller's part of a transaction.
type write struct {
	fn work
	// several: fn makes more than one statement, and needs a savepoint.
	several bool
	err     error
	done    chan struct{}
}

// maxBatch bounds how many writes share a transaction, and so how long one waits.
const maxBatch = 512

func startWriter(ctx context.Context, d *dialect, open func(context.Context) (*sql.Conn, error)) *writer {
	w := &writer{
		dialect: d,
		open:    open,
		queue:   make(chan *write),
		stop:    make(chan struct{}),
		done:    make(chan struct{}),
	}
	go w.run(context.WithoutCancel(ctx))
	return w
}

// do has fn run by the writer and returns once it is on the disk, or is not.
// A ctx that ends withdraws it only as long as it waits: afterwards the answer
// is at most one batch away, and is worth waiting for.
func (w *writer) do(ctx context.Context, fn work, several bool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	job := &write{fn: fn, several: several, done: make(chan struct{})}
	select {
	case w.queue <- job:
		<-job.done
		return job.err
	case <-w.done:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// close ends the writer after the writes it has begun. It may be called again.
func (w *writer) close() {
	w.once.Do(func() { close(w.stop) })
	<-w.done
}

func (w *writer) closed() bool {
	select {
	case <-w.stop:
		return true
	default:
		return false
	}
}

// run writes until it is told to stop. ctx never ends: SQLite gives up a whole
// transaction, others' writes too, when one of its statements is interrupted.
func (w *writer) run(ctx context.Context) {
	defer close(w.done)
	defer w.drop()
	for {
		select {
		case <-w.stop:
			return
		case first := <-w.queue:
			w.batch(ctx, first)
		}
	}
}

// batch runs first and all that wait in one transaction, and answers them.
func (w *writer) batch(ctx context.Context, first *write) {
	jobs := make([]*write, 0, maxBatch)
	failure := w.begin(ctx)
	for job := first; job != nil; job = w.next(len(jobs)) {
		jobs = append(jobs, job)
		if failure == nil {
			failure = w.perform(ctx, job)
		}
	}
	if failure == nil {
		_, failure = w.conn.exec(ctx, "COMMIT")
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
}

// next is a write that waits, or nil.
func (w *writer) next(taken int) *write {
	if taken == maxBatch {
		return nil
	}
	for range 2 {
		select {
		case job := <-w.queue:
			return job
		default:
			// Whoever was answered by the last batch may be about to write again.
			runtime.Gosched()
		}
	}
	return nil
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
func (w *writer) perform(ctx context.Context, job *write) error {
	if job.several {
		if _, err := w.conn.exec(ctx, "SAVEPOINT write"); err != nil {
			return err
		}
	}
	job.err = job.fn(ctx, w.conn.querier)
	if errors.Is(job.err, ErrUnavailable) {
		return job.err
	}
	if !job.several {
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

// Package store keeps everything that must survive: tasks, their journals and
// events, sessions, memories, usage, schedules and webhook deliveries, in a
// SQLite file or in PostgreSQL. It must not know what a run does, nor of gRPC or NATS.
package store

import (
	"context"
	"time"
)

// Store is all that is kept, by role; a use case asks for the role it needs.
// Every implementation is safe for concurrent use.
//
// What holds for every method:
//
//   - When a writing method returns nil, what it wrote is committed and synced.
//     With an error nothing of it is written, and no part of it is ever seen;
//     only after ErrUnavailable or ctx's own error may the whole of it have
//     been written, when the database went away between commit and answer.
//   - Every row belongs to a tenant. No method reads or writes another
//     tenant's rows, but for those that look for work, which say so and return
//     the tenant.
//   - There is one clock: PostgreSQL's own, or for SQLite this process's.
//     Leases are never compared with a caller's clock.
//   - Times are in UTC, exact to a microsecond. A zero time means none.
//   - Ids and names are UTF-8 without NUL; others are refused with ErrInvalid.
//     Ids of rows are the caller's; ids that rise with time (UUIDv7) keep
//     inserts cheap for ever.
//   - Request, Result, Payload and steps are the caller's bytes, kept as they are.
//   - Errors are told apart with errors.Is and the names in this package.
type Store interface {
	Queue
	Conversations
	Notes
	Books
	Schedules
	Deliveries

	// Ping says whether the database can be read now.
	Ping(ctx context.Context) error

	// Close waits for the writes that have begun and closes the database.
	// Later calls fail with ErrClosed.
	Close() error
}

// Queue is all about tasks, for owners, workers, those who decide, and sweepers.
type Queue interface {
	Tasks
	Leases
	Approvals
	Journal
	Sweeper
}

// Conversations are sessions, what was said in them, and what sums that up.
type Conversations interface {
	Sessions
	Messages
	Summaries
}

// Notes are memories and what they mean.
type Notes interface {
	Memories
	Vectors
}

// Books are about money: what was used, and what may be spent.
type Books interface {
	Usage
	Spending
}

// Options tunes a store. The zero value is right for production.
type Options struct {
	// Connections is the most that are open at once to PostgreSQL, or the
	// readers of a SQLite file. Default 16.
	Connections int

	// Clock replaces the clock of the store, for tests. It must be safe for
	// concurrent use.
	Clock func() time.Time
}

func (o Options) connections() int {
	if o.Connections > 0 {
		return o.Connections
	}
	return 16
}

// DB is a store in SQL, opened by OpenSQLite or OpenPostgres.
type DB struct {
	engine engine
	// clock gives the value of each statement's first parameter, which @now
	// stands for: microseconds, or nil for the database's own clock.
	clock func() any
}

var _ Store = (*DB)(nil)

// engine runs statements in one kind of database. What a function returns as
// an error undoes all that the function did.
type engine interface {
	// read runs fn outside of any transaction.
	read(ctx context.Context, fn work) error
	// one runs fn, which makes exactly one statement.
	one(ctx context.Context, fn work) error
	// all runs fn, which makes several statements, in a transaction.
	all(ctx context.Context, fn work) error
	close() error
}

// work is what a method does in the database. It may be run again from its
// begin when nothing of what it did has been kept.
type work func(ctx context.Context, q querier) error

// Ping implements Store.
func (d *DB) Ping(ctx context.Context) error {
	return failing("pinging the database", d.engine.read(ctx, func(ctx context.Context, q querier) error {
		_, err := queryOne[number](ctx, q, "SELECT count(*) FROM leaders")
		return err
	}))
}

// Close implements Store.
func (d *DB) Close() error { return failing("closing the database", d.engine.close()) }

// wallClock reads a clock of this process.
func wallClock(now func() time.Time) func() any {
	return func() any { return now().UnixMicro() }
}

// databaseClock leaves the time to the database.
func databaseClock() any { return nil }

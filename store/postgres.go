package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
)

// OpenPostgres opens the store in a PostgreSQL database (14 or later), given
// as a URL or as keywords, and makes its tables. Any number of processes may
// do so at once. A database that restarts gives errors until it is back.
func OpenPostgres(ctx context.Context, address string, options Options) (*DB, error) {
	engine, err := openPostgres(ctx, address, options.connections())
	if err != nil {
		return nil, fmt.Errorf("opening the database: %w", err)
	}
	clock := databaseClock
	if options.Clock != nil {
		clock = wallClock(options.Clock)
	}
	return &DB{engine: engine, clock: clock}, nil
}

// postgresEngine leaves sharing commits to the server, which does so for
// transactions that commit at the same time.
type postgresEngine struct {
	dialect *dialect
	db      *sql.DB
	closed  atomic.Bool
}

func openPostgres(ctx context.Context, address string, connections int) (*postgresEngine, error) {
	config, err := pgx.ParseConfig(address)
	if err != nil {
		// The parser's words hold the address, and it may hold a password.
		return nil, fmt.Errorf("%w: the address is not one of PostgreSQL", ErrInvalid)
	}
	e := &postgresEngine{dialect: postgresDialect(), db: stdlib.OpenDB(*config)}
	e.db.SetMaxOpenConns(connections)
	e.db.SetMaxIdleConns(connections)
	if err := e.migrate(ctx); err != nil {
		return nil, errors.Join(err, e.db.Close())
	}
	if e.dialect.pgvector, err = usePgvector(ctx, e.db); err != nil {
		return nil, errors.Join(fmt.Errorf("looking for pgvector: %w", e.dialect.explain(err)), e.db.Close())
	}
	return e, nil
}

func (e *postgresEngine) migrate(ctx context.Context) error {
	return migrate(ctx, e.db, e.dialect, goose.DialectPostgres, goose.WithSessionLocker(migrationLock{}))
}

// migrationLock is held by the process that migrates. Unlike goose's own it
// waits in the server, so that many replicas start without a pause.
type migrationLock struct{}

const migrationLockID = 0x72756e77697265 // any number that nobody else uses

// SessionLock implements goose's lock.SessionLocker.
func (migrationLock) SessionLock(ctx context.Context, conn *sql.Conn) error {
	_, err := conn.ExecContext(ctx, "SELECT pg_advisory_lock($1)", migrationLockID)
	return err //nolint:wrapcheck // goose says what it was
}

// SessionUnlock implements goose's lock.SessionLocker.
func (migrationLock) SessionUnlock(ctx context.Context, conn *sql.Conn) error {
	_, err := conn.ExecContext(ctx, "SELECT pg_advisory_unlock($1)", migrationLockID)
	return err //nolint:wrapcheck // goose says what it was
}

func (e *postgresEngine) read(ctx context.Context, fn work) error { return e.one(ctx, fn) }

// one needs no transaction: a statement is one by itself.
func (e *postgresEngine) one(ctx context.Context, fn work) error {
	return e.try(ctx, func() error {
		return fn(ctx, querier{dialect: e.dialect, runner: e.db})
	})
}

func (e *postgresEngine) all(ctx context.Context, fn work) error {
	return e.try(ctx, func() error { return e.transact(ctx, fn) })
}

func (e *postgresEngine) transact(ctx context.Context, fn work) error {
	tx, err := e.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("beginning: %w", e.dialect.explain(err))
	}
	if err := fn(ctx, querier{dialect: e.dialect, runner: tx}); err != nil {
		_ = tx.Rollback() // the connection is dropped if it can not
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("committing: %w", e.dialect.explain(err))
	}
	return nil
}

// try runs fn again, for less than a second, while no server listens: nothing
// has been sent, so nothing can happen twice.
func (e *postgresEngine) try(ctx context.Context, fn func() error) error {
	const longest = 400 * time.Millisecond
	for wait := 50 * time.Millisecond; ; wait *= 2 {
		if e.closed.Load() {
			return ErrClosed
		}
		err := fn()
		if !postgresUnsent(err) || wait > longest {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(wait):
		}
	}
}

func (e *postgresEngine) close() error {
	if e.closed.Swap(true) {
		return nil
	}
	return e.db.Close() //nolint:wrapcheck // Close says what it was
}

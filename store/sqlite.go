package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/pressly/goose/v3"
	"modernc.org/sqlite"
)

// OpenSQLite opens the store in a file, which it makes, with its folder, when
// there is none; beside it lies an empty file with .lock at its end. Writers
// share commits, each synced to the disk; readers never wait for writers. One
// process should have the file open for long; a second one works but waits for
// the first's writes.
func OpenSQLite(ctx context.Context, file string, options Options) (*DB, error) {
	clock := options.Clock
	if clock == nil {
		clock = time.Now
	}
	engine, err := openSQLite(ctx, file, options.connections())
	if err != nil {
		return nil, fmt.Errorf("opening the database %s: %w", file, err)
	}
	return &DB{engine: engine, clock: wallClock(clock)}, nil
}

// sqliteEngine has one connection that writes and several that read.
type sqliteEngine struct {
	dialect *dialect
	writing *sql.DB
	reading *preparedReads
	writer  *writer
}

func openSQLite(ctx context.Context, file string, readers int) (*sqliteEngine, error) {
	file, err := filepath.Abs(file)
	if err != nil {
		return nil, fmt.Errorf("finding the file: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return nil, fmt.Errorf("making its folder: %w", err)
	}
	// As durable, at half the price; systems without it go on with fsync.
	if _, err := sqlite.Fdatasync(true); err != nil && !errors.Is(err, sqlite.ErrFdatasyncUnavailable) {
		return nil, fmt.Errorf("choosing how to sync: %w", err)
	}
	e := &sqliteEngine{dialect: sqliteDialect()}
	if err := e.migrate(ctx, file); err != nil {
		return nil, err
	}
	if e.writing, err = sql.Open("sqlite", sqliteURL(file, filePragmas()...)); err != nil {
		return nil, fmt.Errorf("opening the writer: %w", err)
	}
	reading, err := sql.Open("sqlite", sqliteURL(file, append(filePragmas(), "query_only(1)")...))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening the readers: %w", err), e.writing.Close())
	}
	reading.SetMaxOpenConns(readers)
	reading.SetMaxIdleConns(readers)
	e.reading = &preparedReads{DB: reading, prepared: map[string]*sql.Stmt{}}
	// A connection that the writer gives back is one it no longer trusts.
	e.writing.SetMaxIdleConns(-1)
	e.writer = startWriter(ctx, e.dialect, e.writing.Conn)
	return e, nil
}

// sqliteURL names a file and how every connection to it is set up.
func sqliteURL(file string, pragmas ...string) string {
	path := url.URL{Path: "/" + strings.TrimPrefix(filepath.ToSlash(file), "/")}
	query := url.Values{"_pragma": pragmas, "_txlock": {"immediate"}}
	return "file://" + path.EscapedPath() + "?" + query.Encode()
}

func filePragmas() []string {
	return []string{
		"busy_timeout(5000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)",
		"temp_store(MEMORY)", "wal_autocheckpoint(4000)",
	}
}

// migrate brings the file up to date. Other processes that start wait at the
// lock of an empty database beside it, which the system lifts should this one die.
func (e *sqliteEngine) migrate(ctx context.Context, file string) (err error) {
	lock, err := sql.Open("sqlite", sqliteURL(file+".lock", "busy_timeout(60000)"))
	if err != nil {
		return fmt.Errorf("opening the lock: %w", err)
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	held, err := lock.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("locking the database for its migration: %w", e.dialect.explain(err))
	}
	defer func() { err = errors.Join(err, held.Rollback()) }()

	db, err := sql.Open("sqlite", sqliteURL(file, filePragmas()...))
	if err != nil {
		return fmt.Errorf("opening the file: %w", err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return migrate(ctx, db, e.dialect, goose.DialectSQLite3)
}

func (e *sqliteEngine) read(ctx context.Context, fn work) error {
	if e.writer.closed() {
		return ErrClosed
	}
	return fn(ctx, querier{dialect: e.dialect, runner: e.reading})
}

// one needs no savepoint: a statement that fails has changed nothing.
func (e *sqliteEngine) one(ctx context.Context, fn work) error { return e.writer.do(ctx, fn, false) }

func (e *sqliteEngine) all(ctx context.Context, fn work) error { return e.writer.do(ctx, fn, true) }

func (e *sqliteEngine) close() error {
	e.writer.close()
	return errors.Join(e.reading.Close(), e.writing.Close())
}

// preparedReads keeps the queries that readers make prepared.
type preparedReads struct {
	*sql.DB

	mu       sync.RWMutex
	prepared map[string]*sql.Stmt
}

// maxPrepared bounds the queries that are kept; lists with unusual filters
// beyond it are prepared each time.
const maxPrepared = 256

// QueryContext implements runner.
func (p *preparedReads) QueryContext(ctx context.Context, text string, args ...any) (*sql.Rows, error) {
	prepared, err := p.statement(ctx, text) //nolint:sqlclosecheck // it is kept
	if err != nil {
		return nil, err
	}
	if prepared == nil {
		return p.DB.QueryContext(ctx, text, args...) //nolint:wrapcheck // the querier explains it
	}
	return prepared.QueryContext(ctx, args...) //nolint:wrapcheck // the querier explains it
}

// statement is a query, prepared; nil when there are too many.
func (p *preparedReads) statement(ctx context.Context, text string) (*sql.Stmt, error) {
	p.mu.RLock()
	prepared, full := p.prepared[text], len(p.prepared) >= maxPrepared
	p.mu.RUnlock()
	if prepared != nil || full {
		return prepared, nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if prepared = p.prepared[text]; prepared != nil {
		return prepared, nil
	}
	prepared, err := p.PrepareContext(ctx, text) //nolint:sqlclosecheck // it is kept
	if err != nil {
		return nil, err //nolint:wrapcheck // the querier explains it
	}
	p.prepared[text] = prepared
	return prepared, nil
}

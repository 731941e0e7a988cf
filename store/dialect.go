package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// dialect is all that SQLite and PostgreSQL do differently. Statements are
// written once, with these words in them:
//
//	@now         the time in microseconds; the statement's $1 is the store's clock
//	@skip_locked at the end of a query for work: leave what others are taking
//	@filter      before a column by which rows are left out, not found: there is a
//	             better index than the column's, which SQLite would not see
//	@blob @key   column types: bytes, and text that is ordered by its bytes
//	@clustered   at the end of a table: rows lie in the order of the primary key
//	@serial      column type: a number that a row is given, its primary key
//	@wordtable   the table of which words are in which memory: rowid, words
//	@tsvector @tsquery  types: words parted by spaces, and one word to look for
//	@matches     before the word that is looked for in a row of that table
type dialect struct {
	words *strings.Replacer
	// unnumbered: parameters are told apart by their place. SQLite looks each
	// number up in a list, which takes it longer than most inserts.
	unnumbered bool
	// ready maps statements to what they are in this dialect.
	ready sync.Map
	// insertions are the texts of inserts, by insertion.
	insertions sync.Map

	// unavailable: the database can not do it now. taken: a unique index has
	// refused a row. invalid: a value can not be kept.
	unavailable, taken, invalid func(error) bool

	// hold keeps transactions that run it with the same two texts from going on
	// side by side; empty where one alone writes.
	hold string

	// pgvector is the schema that has PostgreSQL's extension of that name, quoted,
	// where vectors are of its type; empty where they are bytes.
	pgvector string
}

func sqliteDialect() *dialect {
	return &dialect{
		unnumbered: true,
		words: strings.NewReplacer("@now", "$1", "@skip_locked", "", "@filter ", "+",
			"@blob", "BLOB", "@key", "TEXT", "@clustered", "WITHOUT ROWID", "@serial", "INTEGER PRIMARY KEY",
			"@wordtable", sqliteWordTable, "@tsvector", "TEXT", "@tsquery", "TEXT", "@matches", "memory_words MATCH"),
		unavailable: sqliteUnavailable,
		taken: func(err error) bool {
			code := sqliteCode(err)
			return code == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY || code == sqlite3.SQLITE_CONSTRAINT_UNIQUE
		},
		invalid: func(error) bool { return false },
	}
}

func postgresDialect() *dialect {
	return &dialect{
		words: strings.NewReplacer(
			"@now", "coalesce(CAST($1 AS BIGINT), CAST(extract(epoch FROM statement_timestamp()) * 1000000 AS BIGINT))",
			"@skip_locked", "FOR UPDATE SKIP LOCKED", "@filter ", "",
			"@blob", "BYTEA", "@key", `TEXT COLLATE "C"`, "@clustered", "",
			"@serial", "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
			"@wordtable", postgresWordTable, "@tsvector", "tsvector", "@tsquery", "tsquery", "@matches", "memory_words.words @@"),
		unavailable: postgresUnavailable,
		hold:        "SELECT pg_advisory_xact_lock(hashtext($1), hashtext($2))",
		taken:       func(err error) bool { return postgresCode(err) == "23505" },
		invalid:     func(err error) bool { return strings.HasPrefix(postgresCode(err), "22") },
	}
}

// The words come in their final form, so the tokenizer only parts them at
// spaces. No text is kept, and of a word no more than which memories have it.
const sqliteWordTable = `CREATE VIRTUAL TABLE memory_words
	USING fts5(words, content='', contentless_delete=1, detail=none, tokenize='ascii');
CREATE TRIGGER memories_deleted AFTER DELETE ON memories BEGIN
	DELETE FROM memory_words WHERE rowid = old.number;
END`

const postgresWordTable = `CREATE TABLE memory_words (
	rowid BIGINT   NOT NULL PRIMARY KEY REFERENCES memories (number) ON DELETE CASCADE,
	words tsvector NOT NULL
);
CREATE INDEX memory_words_by_word ON memory_words USING gin (words) WITH (fastupdate = off)`

// statement is one in a dialect.
type statement struct {
	text string
	// args are the places in which it wants its arguments; nil for as they are.
	args []int
}

// statement is text in this dialect.
func (d *dialect) statement(text string) *statement {
	if ready, ok := d.ready.Load(text); ok {
		return ready.(*statement) //nolint:forcetypeassert // nothing else is stored
	}
	ready := &statement{text: d.words.Replace(text)}
	if d.unnumbered {
		ready.unnumber()
	}
	d.ready.Store(text, ready)
	return ready
}

var parameter = regexp.MustCompile(`\$\d+`)

// unnumber makes every parameter a mere place.
func (s *statement) unnumber() {
	inOrder := true
	s.text = parameter.ReplaceAllStringFunc(s.text, func(name string) string {
		number, _ := strconv.Atoi(name[1:]) // it is digits
		s.args = append(s.args, number-1)
		inOrder = inOrder && number == len(s.args)
		return "?"
	})
	if inOrder {
		s.args = nil
	}
}

// arranged are args in the places in which the statement wants them.
func (s *statement) arranged(args []any) []any {
	if s.args == nil {
		return args
	}
	arranged := make([]any, len(s.args))
	for i, from := range s.args {
		arranged[i] = args[from]
	}
	return arranged
}

// explain gives a driver's error the name that this package has for it.
func (d *dialect) explain(err error) error {
	switch {
	case err == nil, errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded),
		errors.Is(err, ErrUnavailable):
		return err
	case d.taken(err):
		return fmt.Errorf("%w: %w", ErrExists, err)
	case d.invalid(err):
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	case d.unavailable(err):
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	default:
		return err
	}
}

func sqliteCode(err error) int {
	if failure, ok := errors.AsType[*sqlite.Error](err); ok {
		return failure.Code()
	}
	return sqlite3.SQLITE_OK
}

func sqliteUnavailable(err error) bool {
	const primary = 0xff // the rest of a code says more of the same
	switch sqliteCode(err) & primary {
	case sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN,
		sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_PROTOCOL,
		sqlite3.SQLITE_PERM, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_INTERRUPT:
		return true
	default:
		return false
	}
}

func postgresCode(err error) string {
	if failure, ok := errors.AsType[*pgconn.PgError](err); ok {
		return failure.Code
	}
	return ""
}

// postgresUnavailable: the server said so, or the connection broke.
// Deadlocks and serialization failures are among them: the same again will do.
func postgresUnavailable(err error) bool {
	code := postgresCode(err)
	if code == "" {
		var network net.Error
		var connect *pgconn.ConnectError
		return errors.As(err, &network) || errors.As(err, &connect) || pgconn.SafeToRetry(err) ||
			errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
			errors.Is(err, driver.ErrBadConn) || errors.Is(err, sql.ErrConnDone)
	}
	switch code[:2] {
	case "08", "40", "53", "57", "58":
		return true
	default:
		return code == "25006" // a replica, or a server set to read-only
	}
}

// postgresUnsent: nothing was sent, because no server listens or it is starting.
func postgresUnsent(err error) bool {
	var dial *net.OpError
	return errors.As(err, &dial) && dial.Op == "dial" || postgresCode(err) == "57P03"
}

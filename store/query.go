package store

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// runner is what database/sql's DB, Tx and Conn have in common.
type runner interface {
	ExecContext(ctx context.Context, statement string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, statement string, args ...any) (*sql.Rows, error)
}

// querier runs statements in one dialect; its errors are this package's.
type querier struct {
	dialect *dialect
	runner  runner
}

// exec runs a statement and returns how many rows it changed.
func (q querier) exec(ctx context.Context, statement string, args ...any) (int64, error) {
	if err := checkTexts(args); err != nil {
		return 0, err
	}
	ready := q.dialect.statement(statement)
	result, err := q.runner.ExecContext(ctx, ready.text, ready.arranged(args)...)
	if err != nil {
		return 0, q.dialect.explain(err)
	}
	changed, err := result.RowsAffected()
	return changed, q.dialect.explain(err)
}

// hold waits until no other transaction has made it with the same two texts,
// and makes others wait until this one ends.
func (q querier) hold(ctx context.Context, texts ...any) error {
	if q.dialect.hold == "" {
		return nil
	}
	_, err := q.exec(ctx, q.dialect.hold, texts...)
	return err
}

// row is something that can be read from a row's columns.
type row[T any] interface {
	*T
	// columns are where the row's columns go, in their order.
	columns() []any
}

// query returns the rows that a statement answers; nil when there are none.
func query[T any, R row[T]](ctx context.Context, q querier, statement string, args ...any) (all []T, err error) {
	err = each[T, R](ctx, q, func(value T) { all = append(all, value) }, statement, args...)
	if err != nil {
		return nil, err
	}
	return all, nil
}

// each calls do with every row that a statement answers.
func each[T any, R row[T]](ctx context.Context, q querier, do func(T), statement string, args ...any) (err error) {
	if err := checkTexts(args); err != nil {
		return err
	}
	ready := q.dialect.statement(statement)
	rows, err := q.runner.QueryContext(ctx, ready.text, ready.arranged(args)...)
	if err != nil {
		return q.dialect.explain(err)
	}
	defer func() {
		if closing := rows.Close(); err == nil {
			err = q.dialect.explain(closing)
		}
	}()
	for rows.Next() {
		var value T
		if err := rows.Scan(R(&value).columns()...); err != nil {
			return fmt.Errorf("reading a row: %w", q.dialect.explain(err))
		}
		do(value)
	}
	return q.dialect.explain(rows.Err())
}

// queryOne returns the first row that a statement answers, or ErrNotFound.
func queryOne[T any, R row[T]](ctx context.Context, q querier, statement string, args ...any) (T, error) {
	rows, err := query[T, R](ctx, q, statement, args...)
	if err == nil && len(rows) == 0 {
		err = ErrNotFound
	}
	if err != nil {
		var none T
		return none, err
	}
	return rows[0], nil
}

// insert writes rows that lie together into a table, given as its name and
// columns, in few statements of few forms, so that each is prepared once.
// conflict may say what to do about rows that are there.
func (q querier) insert(ctx context.Context, into string, rows [][]any, conflict string) error {
	const most, few = 64, 8 // rows a statement
	for size := most; len(rows) > 0; {
		if size > len(rows) {
			if size /= 2; size <= few {
				size = min(len(rows), few)
			}
			continue
		}
		args := make([]any, 0, size*len(rows[0]))
		for _, row := range rows[:size] {
			args = append(args, row...)
		}
		if _, err := q.exec(ctx, q.dialect.insertion(into, conflict, size, len(rows[0])), args...); err != nil {
			return err
		}
		rows = rows[size:]
	}
	return nil
}

// insertion is the text of an insert of so many rows.
type insertion struct {
	into, conflict string
	rows           int
}

func (d *dialect) insertion(into, conflict string, rows, columns int) string {
	key := insertion{into, conflict, rows}
	if text, ok := d.insertions.Load(key); ok {
		return text.(string) //nolint:forcetypeassert // nothing else is stored
	}
	form := strings.Repeat(", $", columns)[2:]
	text := "INSERT INTO " + into + " VALUES " + tuples(1, rows, form) + conflict
	d.insertions.Store(key, text)
	return text
}

// tuples writes a list of parameters from number first on, count times in a
// form such as "$, $": ($3, $4), ($5, $6).
func tuples(first, count int, form string) string {
	var text strings.Builder
	for i := range count {
		if i > 0 {
			text.WriteString(", ")
		}
		parts := strings.Split(form, "$")
		text.WriteString("(" + parts[0])
		for _, part := range parts[1:] {
			text.WriteString("$" + strconv.Itoa(first) + part)
			first++
		}
		text.WriteString(")")
	}
	return text.String()
}

// filled is tuples for count rows, in statements of few lengths: what is over is
// filled with the first row again. add adds a row's arguments.
func filled(count, first int, form string, add func(row int)) string {
	length := 1
	for length < count {
		length *= 2
	}
	for row := range length {
		if row >= count {
			row = 0
		}
		add(row)
	}
	return tuples(first, length, form)
}

// checkTexts refuses what PostgreSQL can not keep as text, for SQLite too.
func checkTexts(args []any) error {
	for i, arg := range args {
		if text, ok := arg.(string); ok && (strings.IndexByte(text, 0) >= 0 || strings.ToValidUTF8(text, "") != text) {
			return fmt.Errorf("%w: text %d is not UTF-8 without NUL", ErrInvalid, i+1)
		}
	}
	return nil
}

// prose makes a sentence that came from anywhere fit to be kept.
func prose(text string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "\uFFFD")
}

// instant reads a time from microseconds; zero from NULL.
type instant struct{ to *time.Time }

// Scan implements sql.Scanner.
func (i instant) Scan(value any) error {
	switch micros := value.(type) {
	case nil:
		*i.to = time.Time{}
	case int64:
		*i.to = time.UnixMicro(micros).UTC()
	default:
		return fmt.Errorf("reading a time from a %T", value)
	}
	return nil
}

// micros is a time as it is kept; NULL for the zero time.
func micros(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UnixMicro()
}

// number is a row of one column.
type number struct{ value int64 }

func (n *number) columns() []any { return []any{&n.value} }

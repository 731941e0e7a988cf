package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// pageSize is the largest page that a server gives.
const pageSize = 1000

// pages asks for one page after another until so many rows are there, 0 being
// all, and shows each row.
func pages[T any](limit uint32, show func(T) error, ask func(size int32, token string) (page []T, next string, err error)) error {
	left, token := int(limit), ""
	for limit == 0 || left > 0 {
		size := pageSize
		if limit > 0 {
			size = min(left, pageSize)
		}
		page, next, err := ask(int32(size), token)
		if err != nil {
			return err
		}
		for _, row := range page {
			if err := show(row); err != nil {
				return err
			}
		}
		if left, token = left-len(page), next; token == "" {
			return nil
		}
	}
	return nil
}

// rows shows a list: in a table to a person, as JSON to a program.
type rows[T proto.Message] struct {
	out   io.Writer
	table *table // nil for JSON
	cells func(T) []string
}

func newRows[T proto.Message](out io.Writer, asJSON bool, head []string, cells func(T) []string) *rows[T] {
	r := &rows[T]{out: out, cells: cells}
	if !asJSON {
		r.table = newTable(out, head...)
	}
	return r
}

// pages shows all pages.
func (r *rows[T]) pages(limit uint32, ask func(size int32, token string) (page []T, next string, err error)) error {
	if err := pages(limit, r.show, ask); err != nil {
		return err
	}
	return r.flush()
}

func (r *rows[T]) show(row T) error {
	if r.table == nil {
		return writeLine(r.out, row)
	}
	r.table.row(r.cells(row)...)
	return nil
}

// flush writes the table, whose columns are as wide as all rows need.
func (r *rows[T]) flush() error {
	if r.table == nil {
		return nil
	}
	return r.table.flush()
}

// table writes rows in columns, on lines of their own whatever is in them.
type table struct{ columns *tabwriter.Writer }

func newTable(w io.Writer, head ...string) *table {
	t := &table{columns: tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)}
	if len(head) > 0 {
		t.row(head...)
	}
	return t
}

// row adds a row; an empty cell in it is a dash.
func (t *table) row(cells ...string) {
	for i, cell := range cells {
		if cells[i] = oneLine(cell); cells[i] == "" {
			cells[i] = "-"
		}
	}
	fmt.Fprintln(t.columns, strings.Join(cells, "\t"))
}

// fact adds a name and what it stands for, unless that is empty.
func (t *table) fact(name, value string) {
	if value != "" {
		t.row(name, value)
	}
}

// flush writes the rows.
func (t *table) flush() error {
	if err := t.columns.Flush(); err != nil {
		return fmt.Errorf("write the table: %w", err)
	}
	return nil
}

// longestWords is how many characters of a message a table shows.
const longestWords = 48

// firstWords is the begin of a message.
func firstWords(text string) string { return cut(oneLine(text), longestWords) }

// instant is a time as commands show it, in UTC; empty when absent.
func instant(at *timestamppb.Timestamp) string {
	if at == nil {
		return ""
	}
	return at.AsTime().Format(time.RFC3339)
}

// age is how long ago a time was, in its largest unit.
func age(now time.Time, at *timestamppb.Timestamp) string {
	if at == nil {
		return ""
	}
	ago := max(now.Sub(at.AsTime()), 0)
	switch {
	case ago < time.Minute:
		return fmt.Sprintf("%ds", int(ago.Seconds()))
	case ago < time.Hour:
		return fmt.Sprintf("%dm", int(ago.Minutes()))
	case ago < 48*time.Hour:
		return fmt.Sprintf("%dh", int(ago.Hours()))
	default:
		return fmt.Sprintf("%dd", int(ago.Hours()/24))
	}
}

// enumName is a value of an enum as commands show it: lower case, without the
// prefix that all have.
func enumName(value fmt.Stringer, prefix string) string {
	return strings.ToLower(strings.TrimPrefix(value.String(), prefix))
}

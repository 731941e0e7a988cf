package store

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Page asks for a part of a list. The zero value is the first page.
//
// A row that is there while all pages are read is in exactly one of them,
// whatever is added or removed meanwhile; a row added meanwhile may be in none.
type Page struct {
	// Size is how many rows at most. Default 50, at most 1,000.
	Size int
	// Token is what the page before this one ended with; empty for the first.
	// A token is good for any filter and grants nothing.
	Token string
}

const (
	defaultPageSize = 50
	maxPageSize     = 1000
)

func (p Page) size() int {
	if p.Size <= 0 {
		return defaultPageSize
	}
	return min(p.Size, maxPageSize)
}

// cursor is where a page ended, in an order by time and id.
type cursor struct {
	micros int64
	id     string
}

// cursorVersion is a token's first byte, should what follows ever change.
const cursorVersion = 1

// token is the cursor as callers see it.
func (c cursor) token() string {
	raw := binary.BigEndian.AppendUint64([]byte{cursorVersion}, uint64(c.micros)) //nolint:gosec // all 64 bits come back
	return base64.RawURLEncoding.EncodeToString(append(raw, c.id...))
}

// parseCursor reads a token. Only what token has made comes back.
func parseCursor(token string) (cursor, error) {
	const head = 1 + 8
	raw, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil {
		return cursor{}, fmt.Errorf("%w: %w", ErrPageToken, err)
	}
	if len(raw) < head || raw[0] != cursorVersion {
		return cursor{}, ErrPageToken
	}
	id := string(raw[head:])
	if !utf8.ValidString(id) || strings.IndexByte(id, 0) >= 0 || strings.ContainsAny(token, "\r\n") {
		return cursor{}, ErrPageToken
	}
	return cursor{micros: int64(binary.BigEndian.Uint64(raw[1:head])), id: id}, nil //nolint:gosec // see token
}

// listing builds the query for a page of a list, newest first.
type listing struct {
	text strings.Builder
	args []any
}

// list begins a listing: a SELECT whose WHERE holds the tenant as $1.
func list(selection, tenant string) *listing {
	l := &listing{args: []any{tenant}}
	l.text.WriteString(selection)
	return l
}

// and narrows the list; the condition's ? are the values, in their order.
func (l *listing) and(condition string, values ...any) {
	l.text.WriteString(" AND ")
	for _, value := range values {
		before, after, _ := strings.Cut(condition, "?")
		l.args = append(l.args, value)
		l.text.WriteString(before + "$" + strconv.Itoa(len(l.args)))
		condition = after
	}
	l.text.WriteString(condition)
}

// newest orders by the two columns, time and id, and leaves the page and one
// row more, by which one sees whether there is another page.
func (l *listing) newest(page Page, micros, id string) error {
	if page.Token != "" {
		at, err := parseCursor(page.Token)
		if err != nil {
			return err
		}
		l.and("("+micros+", "+id+") < (?, ?)", at.micros, at.id)
	}
	l.args = append(l.args, page.size()+1)
	fmt.Fprintf(&l.text, " ORDER BY %s DESC, %s DESC LIMIT $%d", micros, id, len(l.args))
	return nil
}

// readPage runs a listing and returns its rows and the next page's token.
func readPage[T any, R row[T]](ctx context.Context, d *DB, l *listing, page Page, at func(T) cursor) (rows []T, next string, err error) {
	err = d.engine.read(ctx, func(ctx context.Context, q querier) error {
		rows, err = query[T, R](ctx, q, l.text.String(), l.args...)
		return err
	})
	if err != nil || len(rows) <= page.size() {
		return rows, "", err
	}
	rows = rows[:page.size()]
	return rows, at(rows[len(rows)-1]).token(), nil
}

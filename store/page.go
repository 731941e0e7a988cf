package store

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
)

// Page asks for a part of a list. The zero value is the first page.
//
// A row that is there while all pages are read is in exactly one of them,
// whatever is added or removed meanwhile; a row added meanwhile may be in none.
type Page struct {
	// Size is how many rows at most. Default 50, at most 1,000.
	Size int
	// Token is what the page before this one ended with; empty for the first.
	// A token is good for that list only, of the same tenant with the same
	// filter, in pages of any size. It is no secret and grants nothing.
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

// cursorVersion is a token's first byte, should what follows ever change: a
// checksum of four bytes, the time in eight, and the id.
const cursorVersion = 2

// token is the cursor as callers see it, good for the list with this checksum.
func (c cursor) token(list uint32) string {
	at := binary.BigEndian.AppendUint64(nil, uint64(c.micros)) //nolint:gosec // all 64 bits come back
	at = append(at, c.id...)
	raw := binary.BigEndian.AppendUint32([]byte{cursorVersion}, crc32.Update(list, crc32.IEEETable, at))
	return base64.RawURLEncoding.EncodeToString(append(raw, at...))
}

// parseCursor reads a token. Only what token has made for the list comes back.
func parseCursor(token string, list uint32) (cursor, error) {
	const sum, head = 1 + 4, 1 + 4 + 8
	raw, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		return cursor{}, fmt.Errorf("%w: %w", ErrPageToken, err)
	}
	if len(raw) < head {
		return cursor{}, ErrPageToken
	}
	at := cursor{micros: int64(binary.BigEndian.Uint64(raw[sum:head])), id: string(raw[head:])} //nolint:gosec // see token
	if at.token(list) != token || checkTexts([]any{at.id}) != nil {
		return cursor{}, ErrPageToken
	}
	return at, nil
}

// listing builds the query for a page of a list, newest first.
type listing struct {
	text strings.Builder
	args []any
	// sum tells this list from others in its pages' tokens.
	sum uint32
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

// checksum is one of the rows that are in the list. The columns that are read do
// not count, lest a version that reads one more refuse the tokens given out.
func (l *listing) checksum() uint32 {
	text := l.text.String()
	return crc32.ChecksumIEEE(fmt.Appendf(nil, "%s %#v", text[max(strings.Index(text, " FROM "), 0):], l.args))
}

// newest orders by the two columns, time and id, and leaves the page and one
// row more, by which one sees whether there is another page.
func (l *listing) newest(page Page, micros, id string) error {
	l.sum = l.checksum()
	if page.Token != "" {
		at, err := parseCursor(page.Token, l.sum)
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
	return rows, at(rows[len(rows)-1]).token(l.sum), nil
}

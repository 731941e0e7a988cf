package store

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Memories are notes about users that outlive their sessions.
type Memories interface {
	// SaveMemory keeps a memory and returns it as it is kept. One whose id is
	// there already is left as it is and returned, so that the same may be saved
	// again when it is not known whether it was; with another user or another
	// text it is ErrExists. A text without any characters, or with more than
	// MaxMemory, is ErrInvalid.
	//
	// A user who has most memories or more, 0 being any number, is given no
	// other: ErrFull. So nobody ever has more than most, however many save at once.
	SaveMemory(ctx context.Context, memory Memory, most int) (Memory, error)

	// SearchMemories returns up to limit of a user's memories that hold any word
	// of text, the best first. A word is letters and digits, in any case and
	// whatever their accents; all else in text, such as quotes and operators,
	// only parts words. A memory is the better the more of the words it holds,
	// and a word counts the more the fewer of the user's memories hold it; of two
	// that are as good, the newer is first. Of a long text, the longest
	// 32 words are looked for.
	SearchMemories(ctx context.Context, tenant, userID, text string, limit int) ([]Memory, error)

	// ListMemories returns a page of a user's memories, those saved last first,
	// and the next page's token, empty at the end. A token it has not made is
	// ErrPageToken.
	ListMemories(ctx context.Context, tenant, userID string, page Page) (memories []Memory, next string, err error)

	// DeleteMemory deletes a memory, or returns ErrNotFound.
	DeleteMemory(ctx context.Context, tenant, id string) error
}

// MaxMemory is how many characters a memory has at most.
const MaxMemory = 4000

// Memory is a note about a user.
type Memory struct {
	Tenant string
	// ID is unique in the tenant.
	ID     string
	UserID string
	// SessionID is the session it was saved in, with which it is deleted; empty
	// for none. There need be no such session.
	SessionID string
	Text      string
	// CreateTime is the store's.
	CreateTime time.Time
}

const memoryColumns = "memories.tenant, memories.memory_id, memories.user_id, memories.session_id, memories.content, " +
	"memories.create_time"

func (m *Memory) columns() []any {
	return []any{&m.Tenant, &m.ID, &m.UserID, &m.SessionID, &m.Text, instant{&m.CreateTime}}
}

// SaveMemory implements Memories.
func (d *DB) SaveMemory(ctx context.Context, memory Memory, most int) (saved Memory, err error) {
	const doing = "saving a memory"
	if length := utf8.RuneCountInString(memory.Text); length == 0 || length > MaxMemory {
		return Memory{}, failing(doing, fmt.Errorf("%w: a memory of %d characters", ErrInvalid, length))
	}
	var full bool
	err = d.engine.all(ctx, func(ctx context.Context, q querier) error {
		saved, err = d.writeMemory(ctx, q, memory, most)
		if full = errors.Is(err, ErrFull); full {
			return nil // there is nothing to undo
		}
		return err
	})
	if err == nil && full {
		err = ErrFull
	}
	return saved, failing(doing, err)
}

func (d *DB) writeMemory(ctx context.Context, q querier, memory Memory, most int) (Memory, error) {
	args := []any{d.clock(), memory.Tenant, memory.ID, memory.UserID, memory.SessionID, memory.Text}
	room := "true"
	if most > 0 {
		if err := q.hold(ctx, memory.Tenant, memory.UserID); err != nil {
			return Memory{}, err
		}
		room = "NOT EXISTS (SELECT 1 FROM memories WHERE tenant = $2 AND user_id = $4 LIMIT 1 OFFSET $7)"
		args = append(args, most-1)
	}
	numbers, err := query[number](ctx, q, `INSERT INTO memories (tenant, memory_id, user_id, session_id, content, create_time)
		SELECT $2, $3, $4, $5, $6, @now WHERE `+room+`
		ON CONFLICT (tenant, memory_id) DO NOTHING RETURNING number`, args...)
	if err != nil {
		return Memory{}, err
	}
	if len(numbers) > 0 {
		terms := strings.Join(owned(memory.Tenant, memory.UserID, words(memory.Text)), " ")
		_, err := q.exec(ctx, "INSERT INTO memory_words (rowid, words) VALUES ($1, CAST(CAST($2 AS TEXT) AS @tsvector))",
			numbers[0].value, terms)
		if err != nil {
			return Memory{}, err
		}
	}
	saved, err := queryOne[Memory](ctx, q,
		"SELECT "+memoryColumns+" FROM memories WHERE tenant = $1 AND memory_id = $2", memory.Tenant, memory.ID)
	if most > 0 && errors.Is(err, ErrNotFound) {
		return Memory{}, ErrFull
	}
	if err == nil && (saved.UserID != memory.UserID || saved.Text != memory.Text) {
		err = ErrExists
	}
	return saved, err
}

// maxSearchWords bounds the words that are looked for.
const maxSearchWords = 32

// SearchMemories implements Memories.
func (d *DB) SearchMemories(ctx context.Context, tenant, userID, text string, limit int) (memories []Memory, err error) {
	const doing = "searching memories"
	if err := checkTexts([]any{text}); err != nil {
		return nil, failing(doing, err)
	}
	terms := owned(tenant, userID, longest(words(text), maxSearchWords))
	err = d.engine.read(ctx, func(ctx context.Context, q querier) error {
		memories, err = byWords(ctx, q, tenant, userID, terms, limit)
		return err
	})
	return memories, failing(doing, err)
}

// byWords returns up to limit memories that hold any of their owner's terms, the
// best first.
func byWords(ctx context.Context, q querier, tenant, userID string, terms []string, limit int) ([]Memory, error) {
	if len(terms) == 0 {
		return nil, nil
	}
	args := []any{tenant, userID, max(limit, 0)}
	for _, term := range terms {
		args = append(args, term)
	}
	return query[Memory](ctx, q, searchStatement(len(terms)), args...)
}

// searchStatement looks for so many words, the first of which is $4. The words
// are worth thousandths of ln(1 + memories / those with the word), so that sums
// are exact and order alike in both databases.
func searchStatement(count int) string {
	var asked strings.Builder
	for i := range count {
		if i > 0 {
			asked.WriteString(", ")
		}
		n := strconv.Itoa(i + 4)
		asked.WriteString("(" + n + ", CAST($" + n + " AS TEXT))")
	}
	return "WITH asked(word, term) AS (VALUES " + asked.String() + `), hits AS (
			SELECT asked.word, memory_words.rowid AS number
			FROM asked JOIN memory_words ON @matches CAST(asked.term AS @tsquery)
		), worths AS (
			SELECT word, CAST(floor(1000 * ln(1 + CAST((
				SELECT count(*) FROM memories WHERE tenant = $1 AND user_id = $2) AS DOUBLE PRECISION) / count(*))) AS BIGINT) AS worth
			FROM hits GROUP BY word
		), found AS (
			SELECT hits.number, sum(worths.worth) AS score FROM hits JOIN worths ON worths.word = hits.word GROUP BY hits.number
		)
		SELECT ` + memoryColumns + ` FROM found JOIN memories ON memories.number = found.number
		WHERE memories.tenant = $1 AND memories.user_id = $2
		ORDER BY found.score DESC, memories.create_time DESC, memories.memory_id DESC LIMIT $3`
}

// ListMemories implements Memories.
func (d *DB) ListMemories(ctx context.Context, tenant, userID string, page Page) ([]Memory, string, error) {
	const doing = "listing memories"
	l := list("SELECT "+memoryColumns+" FROM memories WHERE tenant = $1", tenant)
	l.and("user_id = ?", userID)
	if err := l.newest(page, "create_time", "memory_id"); err != nil {
		return nil, "", failing(doing, err)
	}
	memories, next, err := readPage(ctx, d, l, page, func(m Memory) cursor {
		return cursor{m.CreateTime.UnixMicro(), m.ID}
	})
	return memories, next, failing(doing, err)
}

// DeleteMemory implements Memories.
func (d *DB) DeleteMemory(ctx context.Context, tenant, id string) error {
	return failing("deleting a memory", d.engine.all(ctx, func(ctx context.Context, q querier) error {
		deleted, err := q.exec(ctx, "DELETE FROM memories WHERE tenant = $1 AND memory_id = $2", tenant, id)
		if err == nil && deleted == 0 {
			err = ErrNotFound
		}
		return err
	}))
}

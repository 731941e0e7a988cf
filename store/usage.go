package store

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Usage is what models were paid for.
type Usage interface {
	// AppendUsage writes rows, all or none. A row whose run, id and time are
	// there already is left as it is, so the same may be written again when it is
	// not known whether it was.
	AppendUsage(ctx context.Context, rows []UsageRow) error

	// SumUsage adds up what filter leaves: one sum for each of the groups that
	// by makes, in their order; with no by at most one. Groups without rows
	// are not there.
	SumUsage(ctx context.Context, filter UsageFilter, by ...UsageKey) ([]UsageSum, error)

	// RecentRuns returns what an agent's last runs have used that have asked a
	// model, newest first: limit of them at most, and at most 200. It looks
	// through the tenant's last 5,000 calls.
	RecentRuns(ctx context.Context, tenant, agent, model string, limit int) ([]RunUsage, error)
}

// UsageRow is one call of a model, or a try of one.
type UsageRow struct {
	Tenant string
	RunID  string
	// ID is unique in the run.
	ID     string
	UserID string
	Agent  string
	Model  string
	// Time is when it was, by the clock of who called; it must be there.
	Time time.Time
	// InputTokens include CachedTokens and CacheWriteTokens.
	InputTokens      int64
	CachedTokens     int64
	CacheWriteTokens int64
	OutputTokens     int64
	// CostNano is in billionths of a US dollar; nil when the price is unknown.
	CostNano *int64
	// Estimated: the tokens are a guess, for the provider did not say.
	Estimated bool
	// Reserved: money was reserved for it, by its ID. Writing the row settles that.
	Reserved bool
}

// UsageFilter says which usage to add up; what is empty is not looked at.
type UsageFilter struct {
	// Tenant is always looked at.
	Tenant string
	// From is the first moment that counts, To the first that does not.
	From, To time.Time
	UserID   string
	Agent    string
	Model    string
}

// UsageKey is something to group by.
type UsageKey string

// What usage can be grouped by. A day is one of UTC.
const (
	UsageByUser  UsageKey = "user"
	UsageByAgent UsageKey = "agent"
	UsageByModel UsageKey = "model"
	UsageByDay   UsageKey = "day"
)

// UsageSum is what a group comes to. Of the keys, those not grouped by are zero.
type UsageSum struct {
	UserID string
	Agent  string
	Model  string
	// Day is its first moment.
	Day time.Time

	Calls            int64
	InputTokens      int64
	CachedTokens     int64
	CacheWriteTokens int64
	OutputTokens     int64
	// CostNano is the cost of the calls whose price is known.
	CostNano int64
	// Unpriced is how many calls had no known price, Estimated how many had
	// their tokens guessed.
	Unpriced  int64
	Estimated int64
}

func (s *UsageSum) columns() []any {
	return []any{
		&s.UserID, &s.Agent, &s.Model,
		instant{&s.Day},
		&s.Calls, &s.InputTokens, &s.CachedTokens,
		&s.CacheWriteTokens, &s.OutputTokens, &s.CostNano, &s.Unpriced, &s.Estimated,
	}
}

// AppendUsage implements Usage.
func (d *DB) AppendUsage(ctx context.Context, rows []UsageRow) error {
	return failing("appending usage", d.engine.all(ctx, func(ctx context.Context, q querier) error {
		return writeUsage(ctx, q, rows)
	}))
}

func writeUsage(ctx context.Context, q querier, usage []UsageRow) error {
	rows := make([][]any, 0, len(usage))
	for _, row := range usage {
		if row.Time.IsZero() {
			return fmt.Errorf("%w: usage without a time", ErrInvalid)
		}
		var cost any
		if row.CostNano != nil {
			cost = *row.CostNano
		}
		rows = append(rows, []any{
			row.Tenant, row.ID, row.Time.UnixMicro(), row.UserID, row.Agent, row.Model, row.RunID, row.InputTokens,
			row.CachedTokens, row.CacheWriteTokens, row.OutputTokens, cost, row.Estimated,
		})
	}
	if err := q.insert(ctx, `usage (tenant, usage_id, create_time, user_id, agent, model, run_id, input_tokens,
		cached_tokens, cache_write_tokens, output_tokens, cost_nano, estimated)`, rows,
		" ON CONFLICT (tenant, create_time, run_id, usage_id) DO NOTHING"); err != nil {
		return err
	}
	return settle(ctx, q, usage)
}

// SumUsage implements Usage.
func (d *DB) SumUsage(ctx context.Context, filter UsageFilter, by ...UsageKey) (sums []UsageSum, err error) {
	statement, args, err := filter.statement(by)
	if err != nil {
		return nil, failing("adding up usage", err)
	}
	err = d.engine.read(ctx, func(ctx context.Context, q querier) error {
		sums, err = query[UsageSum](ctx, q, statement, args...)
		return err
	})
	return sums, failing("adding up usage", err)
}

func (f UsageFilter) statement(by []UsageKey) (string, []any, error) {
	const microsADay = 24 * 60 * 60 * 1_000_000
	keys := []struct {
		key                UsageKey
		expression, absent string
	}{
		{UsageByUser, "user_id", "''"},
		{UsageByAgent, "agent", "''"},
		{UsageByModel, "model", "''"},
		{UsageByDay, fmt.Sprintf("create_time - create_time %% %d", microsADay), "CAST(NULL AS BIGINT)"},
	}
	selected, groups := make([]string, 0, len(keys)), []string{}
	for i, key := range keys {
		selected = append(selected, key.absent)
		for _, wanted := range by {
			if wanted == key.key && selected[i] == key.absent {
				selected[i] = key.expression
				groups = append(groups, strconv.Itoa(i+1))
			}
		}
	}
	for _, wanted := range by {
		if wanted != UsageByUser && wanted != UsageByAgent && wanted != UsageByModel && wanted != UsageByDay {
			return "", nil, fmt.Errorf("%w: usage by %q", ErrInvalid, wanted)
		}
	}
	l := list("SELECT "+strings.Join(selected, ", ")+`, count(*), CAST(sum(input_tokens) AS BIGINT),
		CAST(sum(cached_tokens) AS BIGINT), CAST(sum(cache_write_tokens) AS BIGINT), CAST(sum(output_tokens) AS BIGINT),
		CAST(coalesce(sum(cost_nano), 0) AS BIGINT), count(*) - count(cost_nano),
		count(CASE WHEN estimated THEN 1 END)
		FROM usage WHERE tenant = $1`, f.Tenant)
	f.narrow(l)
	if len(groups) > 0 {
		order := strings.Join(groups, ", ")
		l.text.WriteString(" GROUP BY " + order + " ORDER BY " + order)
	} else {
		l.text.WriteString(" HAVING count(*) > 0")
	}
	return l.text.String(), l.args, nil
}

func (f UsageFilter) narrow(l *listing) {
	if !f.From.IsZero() {
		l.and("create_time >= ?", f.From.UnixMicro())
	}
	if !f.To.IsZero() {
		l.and("create_time < ?", f.To.UnixMicro())
	}
	for _, name := range []struct{ column, value string }{
		{"user_id", f.UserID}, {"agent", f.Agent}, {"model", f.Model},
	} {
		if name.value != "" {
			l.and(name.column+" = ?", name.value)
		}
	}
}

package store

import "context"

// RunUsage is what the model calls of a run come to.
type RunUsage struct {
	RunID string
	Calls int64
	// InputTokens include CachedTokens and CacheWriteTokens.
	InputTokens      int64
	CachedTokens     int64
	CacheWriteTokens int64
	OutputTokens     int64
	// LeastInputTokens is the input of the call that read least: the first, as
	// long as each reads what those before it have read. Calls that read
	// nothing do not count.
	LeastInputTokens int64
}

func (r *RunUsage) columns() []any {
	return []any{
		&r.RunID, &r.Calls, &r.InputTokens, &r.CachedTokens, &r.CacheWriteTokens, &r.OutputTokens, &r.LeastInputTokens,
	}
}

const (
	maxRecentRuns = 200
	// recentCalls is how many calls, of all agents, are looked through to find
	// them: an index of each agent's calls would cost every run more than this
	// costs the few who ask.
	recentCalls = 5_000
)

// Of a run that began before the calls that are looked through, those before
// them are not in its sums.
const recentRuns = `SELECT run_id, count(*), CAST(sum(input_tokens) AS BIGINT), CAST(sum(cached_tokens) AS BIGINT),
		CAST(sum(cache_write_tokens) AS BIGINT), CAST(sum(output_tokens) AS BIGINT),
		CAST(coalesce(min(CASE WHEN input_tokens > 0 THEN input_tokens END), 0) AS BIGINT)
	FROM (SELECT * FROM usage WHERE tenant = $1 ORDER BY create_time DESC LIMIT $4) AS recent
	WHERE agent = $2
	GROUP BY run_id HAVING count(CASE WHEN model = $3 THEN 1 END) > 0
	ORDER BY max(create_time) DESC, run_id DESC LIMIT $5`

// RecentRuns implements Usage.
func (d *DB) RecentRuns(ctx context.Context, tenant, agent, model string, limit int) (runs []RunUsage, err error) {
	limit = min(max(limit, 0), maxRecentRuns)
	err = d.engine.read(ctx, func(ctx context.Context, q querier) error {
		runs, err = query[RunUsage](ctx, q, recentRuns, tenant, agent, model, recentCalls, limit)
		return err
	})
	return runs, failing("reading recent runs", err)
}

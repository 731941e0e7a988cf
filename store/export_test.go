package store

import (
	"context"
	"database/sql"
	"maps"
	"slices"
	"strings"
)

// Plans tells how SQLite runs each statement that the store has used so far.
func (d *DB) Plans(ctx context.Context) (map[string][]string, error) {
	e := d.engine.(*sqliteEngine)
	var statements []string
	err := e.one(ctx, func(_ context.Context, q querier) error {
		statements = slices.Collect(maps.Keys(q.runner.(*writing).prepared))
		return nil
	})
	if err != nil {
		return nil, err
	}
	e.reading.mu.RLock()
	statements = slices.AppendSeq(statements, maps.Keys(e.reading.prepared))
	e.reading.mu.RUnlock()
	plans := map[string][]string{}
	for _, statement := range statements {
		if plans[statement], err = plan(ctx, e.writing, statement); err != nil {
			return nil, err
		}
	}
	return plans, nil
}

func plan(ctx context.Context, db *sql.DB, statement string) ([]string, error) {
	rows, err := db.QueryContext(ctx, "EXPLAIN QUERY PLAN "+statement, make([]any, strings.Count(statement, "?"))...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var steps []string
	for rows.Next() {
		var id, parent, unused int
		var step string
		if err := rows.Scan(&id, &parent, &unused, &step); err != nil {
			return nil, err
		}
		steps = append(steps, step)
	}
	return steps, rows.Err()
}

// Pgvector is the schema of the extension that compares vectors; empty for none.
func (d *DB) Pgvector() string { return d.engine.(*postgresEngine).dialect.pgvector }

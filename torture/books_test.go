//go:build linux

package torture

import (
	"context"
	"database/sql"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	agentv1 "github.com/runwire/runwire/gen/agent/v1"
	"google.golang.org/protobuf/proto"
)

// books are the tables, read past the store.
type books struct{ db *sql.DB }

func openBooks(t *testing.T, address string) books {
	t.Helper()
	config, err := pgx.ParseConfig(address)
	if err != nil {
		t.Fatal(err)
	}
	db := stdlib.OpenDB(*config)
	db.SetMaxOpenConns(8)
	db.SetMaxIdleConns(8)
	t.Cleanup(func() { _ = db.Close() })
	return books{db: db}
}

// each calls scan for every row.
func (b books) each(ctx context.Context, query string, scan func(*sql.Rows) error, args ...any) error {
	rows, err := b.db.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// journal is how many model calls a task's journal has.
type journal struct{ answered, failed int }

func (j *journal) add(step []byte) error {
	var read struct {
		Model *struct {
			Failed bool `json:"failed"`
		} `json:"model"`
	}
	err := json.Unmarshal(step, &read)
	switch {
	case err != nil || read.Model == nil:
	case read.Model.Failed:
		j.failed++
	default:
		j.answered++
	}
	return err
}

// journaled implements modelServer.journaled.
func (b books) journaled(ctx context.Context, p plan) int {
	var j journal
	err := b.each(ctx, `SELECT step FROM steps JOIN tasks USING (tenant, task_id) WHERE tenant = 'default' AND idempotency_key = $1`,
		func(rows *sql.Rows) error {
			var step []byte
			return errors.Join(rows.Scan(&step), j.add(step))
		}, p.key())
	if err != nil {
		return -1
	}
	return j.answered
}

// held is a task that runs, and which attempt it is.
type held struct {
	task    string
	attempt int64
}

// heldBy is what a process had when it was last heard of.
func (b books) heldBy(ctx context.Context, pid int) (all []held, err error) {
	err = b.each(ctx, "SELECT task_id, attempt FROM tasks WHERE status = 2 AND split_part(worker, '/', 2) = $1",
		func(rows *sql.Rows) error {
			var h held
			err := rows.Scan(&h.task, &h.attempt)
			all = append(all, h)
			return err
		}, strconv.Itoa(pid))
	return all, err
}

// account is what is kept of a task.
type account struct {
	completed bool
	attempts  int
	journal   journal
	messages  int
	// What its model calls have used, and how many there were.
	calls                         int
	input, cached, output, billed int64
	// The event log.
	last     int64
	finished int
	faults   []string
}

// read returns the accounts by the tasks' ids.
func (b books) read(ctx context.Context, t *testing.T) map[string]*account {
	t.Helper()
	all := make(map[string]*account)
	strays := 0
	of := func(id string) *account {
		if all[id] == nil {
			strays++
			return &account{}
		}
		return all[id]
	}
	var id string
	err := errors.Join(
		b.each(ctx, "SELECT task_id, status, attempt FROM tasks", func(rows *sql.Rows) error {
			a, status := &account{}, 0
			err := rows.Scan(&id, &status, &a.attempts)
			a.completed = agentv1.TaskStatus(status) == agentv1.TaskStatus_TASK_STATUS_COMPLETED
			all[id] = a
			return err
		}),
		b.each(ctx, "SELECT task_id, step FROM steps", func(rows *sql.Rows) error {
			var step []byte
			err := rows.Scan(&id, &step)
			return errors.Join(err, of(id).journal.add(step))
		}),
		b.each(ctx, "SELECT replace(run_id, 'run_', 'task_'), count(*) FROM messages GROUP BY 1", func(rows *sql.Rows) error {
			var count int
			err := rows.Scan(&id, &count)
			of(id).messages = count
			return err
		}),
		b.each(ctx, `SELECT replace(run_id, 'run_', 'task_'), count(*), sum(input_tokens), sum(cached_tokens),
			sum(output_tokens), sum(cost_nano) FROM usage GROUP BY 1`, func(rows *sql.Rows) error {
			var a account
			err := rows.Scan(&id, &a.calls, &a.input, &a.cached, &a.output, &a.billed)
			kept := of(id)
			kept.calls, kept.input, kept.cached, kept.output, kept.billed = a.calls, a.input, a.cached, a.output, a.billed
			return err
		}),
		b.each(ctx, "SELECT task_id, payload FROM events ORDER BY tenant, task_id, sequence", func(rows *sql.Rows) error {
			var payload []byte
			err := rows.Scan(&id, &payload)
			return errors.Join(err, of(id).log(payload))
		}),
	)
	if err != nil {
		t.Fatal(err)
	}
	if strays > 0 {
		t.Errorf("%d rows belong to no task", strays)
	}
	return all
}

// auditSpend holds what stands against spend limits against what was used, once
// no call is made any more: whoever was struck has left no reservation behind,
// and nothing was settled twice.
func (b books) auditSpend(ctx context.Context, t *testing.T) {
	t.Helper()
	const money = `SELECT (SELECT sum(settled_nano) FROM spend), (SELECT sum(reserved_nano) FROM spend),
		(SELECT count(*) FROM reservations), (SELECT sum(cost_nano) FROM usage)`
	err := b.each(ctx, money, func(rows *sql.Rows) error {
		var settled, reserved, left, used int64
		err := rows.Scan(&settled, &reserved, &left, &used)
		if settled != used || reserved != 0 || left != 0 {
			t.Errorf("%d is settled and %d used, %d is still reserved by %d", settled, used, reserved, left)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// log takes the next event of a task: how many deltas it joins, their lengths,
// and the event.
func (a *account) log(payload []byte) error {
	pieces, n := binary.Uvarint(payload)
	for range pieces {
		_, more := binary.Uvarint(payload[n:])
		n += more
	}
	event := &agentv1.RunEvent{}
	if err := proto.Unmarshal(payload[n:], event); err != nil {
		return err
	}
	if event.GetSequence() != a.last+1+event.GetMerged() || a.finished > 0 {
		a.faults = append(a.faults, fmt.Sprintf("event %d after %d, with %d merged: %T",
			event.GetSequence(), a.last, event.GetMerged(), event.GetEvent()))
	}
	a.last = event.GetSequence()
	if event.GetFinished() != nil {
		a.finished++
	}
	return nil
}

// audit holds what is kept of a user's task against what the user was told and
// what the model was asked.
func (u *user) audit(a *account, asked []int) {
	if a == nil {
		u.faultf("it is not kept")
		return
	}
	if !a.completed || a.finished != 1 || len(a.faults) != 0 || a.last != u.last {
		u.faultf("completed %t, %d ends and the faults %q in a log to %d, told was %d", a.completed, a.finished, a.faults, a.last, u.last)
	}
	if want := 2*u.plan.calls() + 2; a.messages != want {
		u.faultf("%d messages are in its session, want %d", a.messages, want)
	}
	usage := u.result.GetUsage()
	if a.input != usage.GetInputTokens() || a.cached != usage.GetCachedInputTokens() || a.output != usage.GetOutputTokens() ||
		a.calls != int(usage.GetLlmCalls()) || a.billed != int64(math.Round(usage.GetCostUsd()*1e9)) {
		u.faultf("usage is %+v, its result says %v", *a, usage)
	}
	u.auditCalls(a, asked)
}

// auditCalls is about what was paid for. Each step is answered and booked once.
// An attempt may have lost one call: that which was in flight, or was answered
// and not journaled yet. One that was cut off in time is booked, as failed.
func (u *user) auditCalls(a *account, asked []int) {
	steps := u.plan.calls() + 1 // the last is kept with the end, not in the journal
	if a.journal.answered != steps-1 || a.calls != steps+a.journal.failed {
		u.faultf("%d calls are booked, %d of %d answers and %d failures journaled", a.calls, a.journal.answered, steps, a.journal.failed)
	}
	total := 0
	for step, times := range asked {
		total += times
		if times == 0 {
			u.faultf("step %d was never asked for", step)
		}
	}
	if lost := total - a.calls; lost > a.attempts-1 || a.journal.failed > a.attempts-1 {
		u.faultf("%d calls were lost in %d attempts, and %d failed", lost, a.attempts, a.journal.failed)
	}
	if a.journal.failed > 0 {
		return // what was cut off has used something, too
	}
	var input, output int64
	for step := range steps {
		input += u.plan.inputTokens(step)
		output += u.plan.outputTokens(step)
	}
	if a.input != input || a.output != output {
		u.faultf("%d and %d tokens are booked, the model said %d and %d", a.input, a.output, input, output)
	}
}

package store

import (
	"context"
	"fmt"
	"time"
)

// Schedules are tasks that are submitted again and again.
type Schedules interface {
	// CreateSchedule keeps a new schedule and returns it; an id that is taken
	// is ErrExists.
	CreateSchedule(ctx context.Context, schedule Schedule) (Schedule, error)

	// GetSchedule returns a schedule, or ErrNotFound.
	GetSchedule(ctx context.Context, tenant, id string) (Schedule, error)

	// ListSchedules returns a page of a tenant's schedules, of one user where
	// userID is not empty, newest first, and the next page's token, empty at
	// the end. A token it has not made is ErrPageToken.
	ListSchedules(ctx context.Context, tenant, userID string, page Page) (schedules []Schedule, next string, err error)

	// PauseSchedule lets no tick fire until ResumeSchedule sets the next one.
	// Both return the schedule, or ErrNotFound; again they change nothing but
	// that time.
	PauseSchedule(ctx context.Context, tenant, id string) (Schedule, error)
	ResumeSchedule(ctx context.Context, tenant, id string, next time.Time) (Schedule, error)

	// DeleteSchedule deletes a schedule, or returns ErrNotFound. The tasks it
	// has submitted stay.
	DeleteSchedule(ctx context.Context, tenant, id string) error

	// DueSchedules returns up to limit schedules, of any tenant, whose NextTime
	// has come, the oldest first.
	DueSchedules(ctx context.Context, limit int) ([]Schedule, error)

	// AdvanceSchedule says that tick has fired, and when the next will; zero
	// for never. Of all who advance from one tick one succeeds; for the others,
	// and when the schedule was paused or deleted, it is ErrFenced. Whoever
	// fires submits first, with an idempotency key made of schedule and tick.
	AdvanceSchedule(ctx context.Context, tenant, id string, tick, next time.Time) error
}

// Schedule says when to submit which task.
type Schedule struct {
	Tenant string
	// ID is unique in the tenant.
	ID     string
	UserID string
	// Key is the API key that its tasks spend by; empty for none.
	Key string
	// Cron and TimeZone are the caller's: the store does not read them.
	Cron     string
	TimeZone string
	Request  []byte
	// NextTime is the next tick; zero while it is paused, or when none comes.
	NextTime time.Time

	// The store sets the rest.
	Paused bool
	// LastTime is the last tick that fired.
	LastTime   time.Time
	CreateTime time.Time
}

const scheduleColumns = "tenant, schedule_id, user_id, key_name, cron, time_zone, request, next_time, paused, last_time, create_time"

func (s *Schedule) columns() []any {
	return []any{
		&s.Tenant, &s.ID, &s.UserID, &s.Key, &s.Cron, &s.TimeZone, &s.Request,
		instant{&s.NextTime},
		&s.Paused,
		instant{&s.LastTime},
		instant{&s.CreateTime},
	}
}

// schedule runs a statement that answers one schedule.
func (d *DB) schedule(ctx context.Context, doing, statement string, args ...any) (schedule Schedule, err error) {
	err = d.engine.one(ctx, func(ctx context.Context, q querier) error {
		schedule, err = queryOne[Schedule](ctx, q, statement+" RETURNING "+scheduleColumns, args...)
		return err
	})
	return schedule, failing(doing, err)
}

// CreateSchedule implements Schedules.
func (d *DB) CreateSchedule(ctx context.Context, s Schedule) (Schedule, error) {
	return d.schedule(ctx, "creating a schedule", `INSERT INTO schedules
		(tenant, schedule_id, user_id, key_name, cron, time_zone, request, next_time, create_time)
		VALUES ($2, $3, $4, $5, $6, $7, $8, $9, @now)`,
		d.clock(), s.Tenant, s.ID, s.UserID, s.Key, s.Cron, s.TimeZone, nonNil(s.Request), micros(s.NextTime))
}

// GetSchedule implements Schedules.
func (d *DB) GetSchedule(ctx context.Context, tenant, id string) (schedule Schedule, err error) {
	err = d.engine.read(ctx, func(ctx context.Context, q querier) error {
		schedule, err = queryOne[Schedule](ctx, q,
			"SELECT "+scheduleColumns+" FROM schedules WHERE tenant = $1 AND schedule_id = $2", tenant, id)
		return err
	})
	return schedule, failing("getting a schedule", err)
}

// ListSchedules implements Schedules.
func (d *DB) ListSchedules(ctx context.Context, tenant, userID string, page Page) ([]Schedule, string, error) {
	l := list("SELECT "+scheduleColumns+" FROM schedules WHERE tenant = $1", tenant)
	if userID != "" {
		l.and("user_id = ?", userID)
	}
	if err := l.newest(page, "create_time", "schedule_id"); err != nil {
		return nil, "", failing("listing schedules", err)
	}
	schedules, next, err := readPage(ctx, d, l, page, func(s Schedule) cursor {
		return cursor{s.CreateTime.UnixMicro(), s.ID}
	})
	return schedules, next, failing("listing schedules", err)
}

// PauseSchedule implements Schedules.
func (d *DB) PauseSchedule(ctx context.Context, tenant, id string) (Schedule, error) {
	return d.schedule(ctx, "pausing a schedule",
		"UPDATE schedules SET paused = TRUE, next_time = NULL WHERE tenant = $1 AND schedule_id = $2", tenant, id)
}

// ResumeSchedule implements Schedules.
func (d *DB) ResumeSchedule(ctx context.Context, tenant, id string, next time.Time) (Schedule, error) {
	return d.schedule(ctx, "resuming a schedule",
		"UPDATE schedules SET paused = FALSE, next_time = $3 WHERE tenant = $1 AND schedule_id = $2", tenant, id, micros(next))
}

// DeleteSchedule implements Schedules.
func (d *DB) DeleteSchedule(ctx context.Context, tenant, id string) error {
	_, err := d.schedule(ctx, "deleting a schedule", "DELETE FROM schedules WHERE tenant = $1 AND schedule_id = $2", tenant, id)
	return err
}

// DueSchedules implements Schedules.
func (d *DB) DueSchedules(ctx context.Context, limit int) (schedules []Schedule, err error) {
	err = d.engine.read(ctx, func(ctx context.Context, q querier) error {
		schedules, err = query[Schedule](ctx, q, "SELECT "+scheduleColumns+` FROM schedules
			WHERE next_time <= @now ORDER BY next_time LIMIT $2`, d.clock(), max(limit, 0))
		return err
	})
	return schedules, failing("looking for due schedules", err)
}

// AdvanceSchedule implements Schedules.
func (d *DB) AdvanceSchedule(ctx context.Context, tenant, id string, tick, next time.Time) error {
	err := d.engine.one(ctx, func(ctx context.Context, q querier) error {
		changed, err := q.exec(ctx, `UPDATE schedules SET last_time = next_time, next_time = $4
			WHERE tenant = $1 AND schedule_id = $2 AND next_time = $3`, tenant, id, tick.UnixMicro(), micros(next))
		if err == nil && changed == 0 {
			err = ErrFenced
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("advancing a schedule: %w", err)
	}
	return nil
}

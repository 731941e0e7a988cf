package store

import (
	"context"
	"fmt"
	"time"
)

// Deliveries are the webhooks that tell of finished tasks.
type Deliveries interface {
	// ClaimDeliveries returns up to limit deliveries, of any tenant, whose time
	// has come, and gives them to the caller for as long as lease. Each counts
	// an attempt, which fences who tried before.
	ClaimDeliveries(ctx context.Context, limit int, lease time.Duration) ([]Delivery, error)

	// RecordDelivery says what came of the attempt that delivery was claimed
	// for; ErrFenced when another has claimed it since, or it has ended.
	RecordDelivery(ctx context.Context, delivery Delivery, outcome Outcome) error

	// ListDeliveries returns a task's deliveries, oldest first; none for an
	// unknown task.
	ListDeliveries(ctx context.Context, tenant, taskID string) ([]Delivery, error)
}

// DeliveryStatus is where a delivery stands.
type DeliveryStatus int64

// A delivery is PENDING until it ends in one of the others.
const (
	DeliveryPending   DeliveryStatus = 1
	DeliveryDelivered DeliveryStatus = 2
	DeliveryFailed    DeliveryStatus = 3
)

// NewDelivery is a webhook to be called.
type NewDelivery struct {
	// ID is unique in the tenant.
	ID      string
	URL     string
	Payload []byte
}

// Delivery is a webhook call and what came of it so far.
type Delivery struct {
	NewDelivery

	Tenant string
	TaskID string
	Status DeliveryStatus
	// Attempt is how often it was tried.
	Attempt int64
	// LastCode is the HTTP status of the last attempt, 0 when there was none;
	// LastError is why it did not come through.
	LastCode  int
	LastError string
	// NextTime is when it is tried next; zero once it has ended.
	NextTime   time.Time
	CreateTime time.Time
	FinishTime time.Time
}

const deliveryColumns = `deliveries.tenant, deliveries.delivery_id, deliveries.task_id, deliveries.url,
	deliveries.payload, deliveries.status, deliveries.attempt, deliveries.last_code, deliveries.last_error,
	deliveries.wake_time, deliveries.create_time, deliveries.finish_time`

func (d *Delivery) columns() []any {
	return []any{
		&d.Tenant, &d.ID, &d.TaskID, &d.URL, &d.Payload, &d.Status, &d.Attempt, &d.LastCode, &d.LastError,
		instant{&d.NextTime},
		instant{&d.CreateTime},
		instant{&d.FinishTime},
	}
}

// Outcome is what came of an attempt.
type Outcome struct {
	// Status ends the delivery, or is PENDING to try again once RetryAfter has passed.
	Status     DeliveryStatus
	RetryAfter time.Duration
	// Code is the HTTP status, 0 for none; Error is why it did not come through.
	Code  int
	Error string
}

func (d *DB) writeDelivery(ctx context.Context, q querier, tenant, taskID string, n NewDelivery) error {
	_, err := q.exec(ctx, `INSERT INTO deliveries
		(tenant, delivery_id, task_id, url, payload, status, create_time, wake_time)
		VALUES ($2, $3, $4, $5, $6, 1, @now, @now)`, d.clock(), tenant, n.ID, taskID, n.URL, nonNil(n.Payload))
	return err
}

// ClaimDeliveries implements Deliveries.
func (d *DB) ClaimDeliveries(ctx context.Context, limit int, lease time.Duration) (deliveries []Delivery, err error) {
	err = d.engine.one(ctx, func(ctx context.Context, q querier) error {
		deliveries, err = query[Delivery](ctx, q, `WITH due AS MATERIALIZED (
				SELECT tenant, delivery_id FROM deliveries WHERE wake_time <= @now ORDER BY wake_time LIMIT $2 @skip_locked)
			UPDATE deliveries SET attempt = attempt + 1, wake_time = @now + $3
			FROM due WHERE deliveries.tenant = due.tenant AND deliveries.delivery_id = due.delivery_id
			RETURNING `+deliveryColumns, d.clock(), max(limit, 0), lease.Microseconds())
		return err
	})
	return deliveries, failing("claiming deliveries", err)
}

// RecordDelivery implements Deliveries.
func (d *DB) RecordDelivery(ctx context.Context, delivery Delivery, outcome Outcome) error {
	if outcome.Status < DeliveryPending || outcome.Status > DeliveryFailed {
		return fmt.Errorf("recording a delivery: %w: status %d", ErrInvalid, outcome.Status)
	}
	err := d.engine.one(ctx, func(ctx context.Context, q querier) error {
		changed, err := q.exec(ctx, `UPDATE deliveries SET status = CAST($5 AS BIGINT), last_code = $6, last_error = $7,
				wake_time = CASE WHEN CAST($5 AS BIGINT) = 1 THEN @now + $8 END,
				finish_time = CASE WHEN CAST($5 AS BIGINT) = 1 THEN NULL ELSE @now END
			WHERE tenant = $2 AND delivery_id = $3 AND attempt = $4 AND status = 1`,
			d.clock(), delivery.Tenant, delivery.ID, delivery.Attempt, int64(outcome.Status), outcome.Code,
			prose(outcome.Error), outcome.RetryAfter.Microseconds())
		if err == nil && changed == 0 {
			err = ErrFenced
		}
		return err
	})
	return failing("recording a delivery", err)
}

// ListDeliveries implements Deliveries.
func (d *DB) ListDeliveries(ctx context.Context, tenant, taskID string) (deliveries []Delivery, err error) {
	err = d.engine.read(ctx, func(ctx context.Context, q querier) error {
		deliveries, err = query[Delivery](ctx, q, "SELECT "+deliveryColumns+` FROM deliveries
			WHERE tenant = $1 AND task_id = $2 ORDER BY create_time, delivery_id`, tenant, taskID)
		return err
	})
	return deliveries, failing("listing deliveries", err)
}

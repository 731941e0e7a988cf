package server

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/runwire/runwire/agent"
	"github.com/runwire/runwire/agent/model"
	agentv1 "github.com/runwire/runwire/gen/agent/v1"
	"github.com/runwire/runwire/store"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

const (
	// retryReserved is when to come back if what others have reserved is in the way.
	retryReserved = 5 * time.Second
	// writingUsage is how long what is reserved for a call outlasts the call's
	// time, so that its usage can be written.
	writingUsage = time.Minute
)

// spending is what users and keys may spend in a day.
type spending struct {
	store   store.Spending
	perUser model.Money            // 0 is any amount
	perKey  map[string]model.Money // by name; what is not there may spend any amount
	limited metric.Int64Counter
}

// hasSpendLimits says whether any amount that may be spent is limited.
func (c *Config) hasSpendLimits() bool {
	return c.File.Limits.PerUser.CostPerDay > 0 || len(keyLimits(c)) > 0
}

func keyLimits(c *Config) map[string]model.Money {
	limits := make(map[string]model.Money)
	for _, key := range c.File.Keys {
		if key.CostPerDay > 0 {
			limits[key.Name] = key.CostPerDay
		}
	}
	return limits
}

func newSpending(cfg *Config, s store.Spending, meters metric.MeterProvider) (*spending, error) {
	limited, err := meters.Meter("github.com/runwire/runwire/server").Int64Counter("agent.spend.limited_total",
		metric.WithUnit("{call}"), metric.WithDescription("Model calls that a spend limit has refused or shortened."))
	if err != nil {
		return nil, fmt.Errorf("counting spend limits: %w", err)
	}
	return &spending{store: s, perUser: cfg.File.Limits.PerUser.CostPerDay, perKey: keyLimits(cfg), limited: limited}, nil
}

// limits are those of a user's runs by a key.
func (s *spending) limits(user, key string) []store.SpendLimit {
	var limits []store.SpendLimit
	if most := s.perKey[key]; most > 0 {
		limits = append(limits, store.SpendLimit{Scope: store.SpendOfKey, Name: key, Nano: int64(most)})
	}
	if s.perUser > 0 {
		limits = append(limits, store.SpendLimit{Scope: store.SpendOfUser, Name: user, Nano: int64(s.perUser)})
	}
	return limits
}

// allowance is what the runs of a tenant's user by a key may spend; nil is any
// amount.
func (s *spending) allowance(tenant, user, key string) agent.Allowance {
	limits := s.limits(user, key)
	if len(limits) == 0 {
		return nil
	}
	return &allowance{spending: s, tenant: tenant, limits: limits}
}

// allowance implements agent.Allowance with the store's reservations.
type allowance struct {
	*spending

	tenant string
	limits []store.SpendLimit
}

// Reserve implements agent.Allowance.
func (a *allowance) Reserve(ctx context.Context, asked agent.Reservation) (agent.Grant, error) {
	reservation := store.SpendReservation{
		Tenant: a.tenant, ID: asked.CallID, Least: int64(asked.Least), Most: int64(asked.Most),
		Limits: a.limits, Lasts: max(asked.Within, 0) + writingUsage,
	}
	for _, call := range asked.Ended {
		if call.Reserved {
			reservation.Ended = append(reservation.Ended, store.EndedCall{ID: call.ID, CostNano: int64(call.Cost)})
		}
	}
	granted, err := a.store.ReserveSpend(ctx, reservation)
	switch {
	case errors.Is(err, store.ErrSpendLimit):
		a.count(ctx, granted.Short, "refused")
		after := untilTomorrow(granted.Now)
		if granted.Soon {
			after = min(after, retryReserved)
		}
		return agent.Grant{}, spentError(granted.Short, after)
	case err != nil:
		return agent.Grant{}, err
	}
	grant := agent.Grant{Amount: model.Money(granted.Nano)}
	if len(granted.Short) > 0 {
		a.count(ctx, granted.Short, "shortened")
		grant.Limit = described(granted.Short[0])
	}
	return grant, nil
}

func (s *spending) count(ctx context.Context, short []store.SpendLimit, outcome string) {
	for _, limit := range short {
		s.limited.Add(ctx, 1, metric.WithAttributes(
			attribute.String("limit", string(limit.Scope)), attribute.String("outcome", outcome)))
	}
}

// checkTask refuses a task that could ask no model today, for the day's money
// is spent. Its error is then an *agent.SpentError.
func (d *durable) checkTask(ctx context.Context, tenant, key string, req *agentv1.SubmitTaskRequest) error {
	limits := d.spending.limits(req.GetUserId(), key)
	now := time.Now()
	if len(limits) == 0 || req.GetRunAfter().AsTime().Sub(now) > untilTomorrow(now) {
		return nil
	}
	least, err := d.tasks.Runner.LeastCost(req.GetAgent(), req.GetMessage())
	if err != nil || least == 0 {
		return err
	}
	spent, err := d.store.SpentToday(ctx, tenant, limits)
	if err != nil {
		return err
	}
	var short []store.SpendLimit
	for i, limit := range limits {
		if limit.Nano-spent[i].SettledNano < int64(least) {
			short = append(short, limit)
		}
	}
	if len(short) == 0 {
		return nil
	}
	d.spending.count(ctx, short, "refused")
	return spentError(short, untilTomorrow(now))
}

func spentError(short []store.SpendLimit, after time.Duration) *agent.SpentError {
	spent := &agent.SpentError{RetryAfter: after}
	for _, limit := range short {
		spent.Limits = append(spent.Limits, agent.SpentLimit{
			Subject: string(limit.Scope) + ":" + limit.Name, Description: described(limit),
		})
	}
	return spent
}

// described is a limit in a few words.
func described(limit store.SpendLimit) string {
	whose := "a user"
	if limit.Scope == store.SpendOfKey {
		whose = "this API key"
	}
	return fmt.Sprintf("%v a day for %s", model.Money(limit.Nano), whose)
}

// untilTomorrow is when the next day of UTC begins.
func untilTomorrow(now time.Time) time.Duration {
	const day = 24 * time.Hour
	return now.Truncate(day).Add(day).Sub(now)
}

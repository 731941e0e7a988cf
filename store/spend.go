package store

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"time"
)

// Spending is what callers have spent in a day, where that has a limit. A day
// is one of UTC, by the store's clock. What has been spent is what the usage of
// the day has cost for which money was reserved; what has been spent and what
// is reserved never pass a limit together because of ReserveSpend.
type Spending interface {
	// ReserveSpend sets money aside for a model call, before it is made: Most,
	// or what is left below every limit, if that is Least or more. If less is
	// left it is ErrSpendLimit, and nothing is reserved. A reservation of the
	// same id is replaced.
	//
	// It is settled by the usage row of its ID, in the transaction that writes
	// the row; or it runs out, when it is as if nothing had been reserved, and
	// usage that is written later counts all the same.
	ReserveSpend(ctx context.Context, reservation SpendReservation) (SpendGrant, error)

	// SpentToday returns what stands against each of the limits, in their order.
	SpentToday(ctx context.Context, tenant string, limits []SpendLimit) ([]Spent, error)

	// FreeSpend takes back up to limit reservations, of any tenant, that have
	// run out, and forgets days that are long past. It returns how many.
	FreeSpend(ctx context.Context, limit int) (int, error)
}

// SpendScope is whose spending is counted.
type SpendScope string

// The scopes.
const (
	SpendOfKey  SpendScope = "key"
	SpendOfUser SpendScope = "user"
)

// SpendLimit is what may be spent in a day.
type SpendLimit struct {
	Scope SpendScope
	// Name is which key's or user's spending it is, in the tenant.
	Name string
	// Nano is in billionths of a US dollar.
	Nano int64
}

// SpendReservation is money to be set aside for a model call.
type SpendReservation struct {
	Tenant string
	// ID is that of the usage row that will settle it.
	ID string
	// Least, above 0, is what the call can be made with, Most what it can cost.
	Least, Most int64
	// Limits are those that it counts against; at least one, none twice.
	Limits []SpendLimit
	// Lasts is when it runs out unless it is settled.
	Lasts time.Duration
	// Ended are calls whose rows are not written yet: from now on no more is set
	// aside for them than they have cost.
	Ended []EndedCall
}

// EndedCall is a model call that has ended, by the ID of its reservation.
type EndedCall struct {
	ID       string
	CostNano int64
}

// SpendGrant is what came of a reservation.
type SpendGrant struct {
	// Nano is what was set aside.
	Nano int64
	// Short are the limits that left no more; none when all of Most was set aside.
	Short []SpendLimit
	// Soon: what other calls have reserved is in the way, and not all of it will
	// be spent. Otherwise nothing is left for the day.
	Soon bool
	// Now is the store's time.
	Now time.Time
}

// Spent is what stands against a limit.
type Spent struct {
	SettledNano  int64
	ReservedNano int64
}

// spendDays is for how many days what was spent is kept here. What it was spent
// on is in the usage.
const spendDays = 7

// account is a row of the table spend.
type account struct {
	day                 int64
	tenant, scope, name string
}

// holding is money that is reserved on an account.
type holding struct {
	account

	id   string
	nano int64
}

func (h *holding) columns() []any {
	return []any{&h.tenant, &h.id, &h.scope, &h.name, &h.day, &h.nano}
}

const holdingColumns = "tenant, reservation_id, scope, name, day, nano"

// changes are what happens to accounts in a transaction. All transactions
// change reservations first, then accounts, and those in one order.
type changes map[account]Spent

func (c changes) add(on account, settled, reserved int64) {
	c[on] = Spent{addNano(c[on].SettledNano, settled), c[on].ReservedNano + reserved}
}

// addNano is a sum of costs, none negative, that stays the most that can be
// counted rather than overflow.
func addNano(a, b int64) int64 {
	if sum := a + b; sum >= 0 {
		return sum
	}
	return 1<<63 - 1
}

func (c changes) apply(ctx context.Context, q querier) error {
	accounts := slices.SortedFunc(maps.Keys(c), func(a, b account) int {
		return cmp.Or(cmp.Compare(a.day, b.day), cmp.Compare(a.tenant, b.tenant),
			cmp.Compare(a.scope, b.scope), cmp.Compare(a.name, b.name))
	})
	for _, on := range accounts {
		// A day that is forgotten is no longer there.
		if _, err := q.exec(ctx, `UPDATE spend SET reserved_nano = reserved_nano + $6, settled_nano =
				CASE WHEN settled_nano > 9223372036854775807 - $5 THEN 9223372036854775807 ELSE settled_nano + $5 END
			WHERE tenant = $1 AND scope = $2 AND name = $3 AND day = $4`,
			on.tenant, on.scope, on.name, on.day, c[on].SettledNano, c[on].ReservedNano); err != nil {
			return err
		}
	}
	return nil
}

// takeReservations deletes reservations, each a tenant and an id, and returns
// what they held.
func takeReservations(ctx context.Context, q querier, ids [][2]string) (taken []holding, err error) {
	const most = 128 // a statement's
	for len(ids) > 0 {
		part := ids[:min(most, len(ids))]
		ids = ids[len(part):]
		var args []any
		tuples := filled(len(part), 1, "$, $", func(i int) { args = append(args, part[i][0], part[i][1]) })
		held, err := query[holding](ctx, q, `DELETE FROM reservations
			WHERE (tenant, reservation_id) IN (VALUES `+tuples+`)
			RETURNING `+holdingColumns, args...)
		if err != nil {
			return nil, err
		}
		taken = append(taken, held...)
	}
	return taken, nil
}

// hold writes reservations that run out at a time.
func hold(ctx context.Context, q querier, all []holding, until time.Time) error {
	rows := make([][]any, len(all))
	for i, h := range all {
		rows[i] = []any{h.tenant, h.id, h.scope, h.name, h.day, h.nano, until.UnixMicro()}
	}
	return q.insert(ctx, "reservations ("+holdingColumns+", until)", rows, "")
}

// ReserveSpend implements Spending.
func (d *DB) ReserveSpend(ctx context.Context, r SpendReservation) (grant SpendGrant, err error) {
	const doing = "reserving what a call may cost"
	if r.Least <= 0 || r.Most < r.Least || len(r.Limits) == 0 {
		return SpendGrant{}, failing(doing, ErrInvalid)
	}
	r.Limits = slices.SortedFunc(slices.Values(r.Limits), func(a, b SpendLimit) int { return cmp.Compare(a.Scope, b.Scope) })
	err = d.engine.all(ctx, func(ctx context.Context, q querier) error {
		grant, err = d.reserve(ctx, q, r)
		return err
	})
	return grant, failing(doing, err)
}

func (d *DB) reserve(ctx context.Context, q querier, r SpendReservation) (SpendGrant, error) {
	held, err := shrink(ctx, q, r)
	if err != nil {
		return SpendGrant{}, err
	}
	today := make([]standing, len(r.Limits))
	for i, limit := range r.Limits {
		// It changes the row, which holds off whoever else reserves.
		if today[i], err = queryOne[standing](ctx, q, `INSERT INTO spend (tenant, scope, name, day)
			VALUES ($2, $3, $4, @now / 86400000000)
			ON CONFLICT (tenant, scope, name, day) DO UPDATE SET settled_nano = spend.settled_nano
			RETURNING scope, name, day, settled_nano, reserved_nano, @now`,
			d.clock(), r.Tenant, string(limit.Scope), limit.Name); err != nil {
			return SpendGrant{}, err
		}
	}
	grant := r.grant(today)
	if grant.Nano < r.Least {
		return grant, ErrSpendLimit
	}
	change := changes{}
	for _, s := range today {
		on := account{s.day, r.Tenant, s.scope, s.name}
		change.add(on, 0, grant.Nano)
		held = append(held, holding{account: on, id: r.ID, nano: grant.Nano})
	}
	if err := change.apply(ctx, q); err != nil {
		return SpendGrant{}, err
	}
	return grant, hold(ctx, q, held, grant.Now.Add(r.Lasts))
}

// shrink takes back what r replaces, and makes of what is reserved for the calls
// that have ended what they have cost. It returns the latter, to be held again.
func shrink(ctx context.Context, q querier, r SpendReservation) ([]holding, error) {
	ids := append(make([][2]string, 0, 1+len(r.Ended)), [2]string{r.Tenant, r.ID})
	costs := make(map[string]int64, len(r.Ended))
	for _, call := range r.Ended {
		ids = append(ids, [2]string{r.Tenant, call.ID})
		costs[call.ID] = call.CostNano
	}
	taken, err := takeReservations(ctx, q, ids)
	if err != nil {
		return nil, err
	}
	change, left := changes{}, []holding{}
	for _, h := range taken {
		cost, ended := costs[h.id]
		change.add(h.account, 0, cost-h.nano)
		if ended {
			h.nano = cost
			left = append(left, h)
		}
	}
	return left, change.apply(ctx, q)
}

// standing is an account of today.
type standing struct {
	Spent

	scope, name string
	day, now    int64
}

func (s *standing) columns() []any {
	return []any{&s.scope, &s.name, &s.day, &s.SettledNano, &s.ReservedNano, &s.now}
}

// grant is what r gets of what is left.
func (r *SpendReservation) grant(today []standing) SpendGrant {
	g := SpendGrant{Nano: r.Most, Soon: true, Now: time.UnixMicro(today[0].now).UTC()}
	for i, limit := range r.Limits {
		unspent := limit.Nano - today[i].SettledNano
		left := max(unspent, 0) - today[i].ReservedNano
		g.Soon = g.Soon && unspent >= r.Least
		switch {
		case left >= r.Most:
		case len(g.Short) == 0 || left < g.Nano:
			g.Nano, g.Short = left, []SpendLimit{limit}
		case left == g.Nano:
			g.Short = append(g.Short, limit)
		}
	}
	return g
}

// settle takes back what was reserved for usage that has just been written, and
// counts what it has cost.
func settle(ctx context.Context, q querier, usage []UsageRow) error {
	var ids [][2]string
	for _, row := range usage {
		if row.Reserved {
			ids = append(ids, [2]string{row.Tenant, row.ID})
		}
	}
	if len(ids) == 0 {
		return nil
	}
	costs := make(map[[2]string]int64, len(ids))
	for _, row := range usage {
		if row.CostNano != nil {
			costs[[2]string{row.Tenant, row.ID}] = max(*row.CostNano, 0)
		}
	}
	taken, err := takeReservations(ctx, q, ids)
	if err != nil {
		return err
	}
	change := changes{}
	for _, h := range taken {
		change.add(h.account, costs[[2]string{h.tenant, h.id}], -h.nano)
	}
	return change.apply(ctx, q)
}

// SpentToday implements Spending.
func (d *DB) SpentToday(ctx context.Context, tenant string, limits []SpendLimit) ([]Spent, error) {
	spent := make([]Spent, len(limits))
	for i, limit := range limits {
		err := d.engine.read(ctx, func(ctx context.Context, q querier) error {
			today, err := queryOne[standing](ctx, q, `SELECT scope, name, day, settled_nano, reserved_nano, @now FROM spend
				WHERE tenant = $2 AND scope = $3 AND name = $4 AND day = @now / 86400000000`,
				d.clock(), tenant, string(limit.Scope), limit.Name)
			spent[i] = today.Spent
			return err
		})
		if err != nil && !errors.Is(err, ErrNotFound) {
			return nil, failing("reading what was spent", err)
		}
	}
	return spent, nil
}

// FreeSpend implements Spending.
func (d *DB) FreeSpend(ctx context.Context, limit int) (freed int, err error) {
	err = d.engine.all(ctx, func(ctx context.Context, q querier) error {
		over, err := query[holding](ctx, q, "SELECT "+holdingColumns+` FROM reservations
			WHERE until <= @now ORDER BY until LIMIT $2 @skip_locked`, d.clock(), max(limit, 0))
		if err != nil {
			return err
		}
		change := changes{}
		for _, h := range over {
			change.add(h.account, 0, -h.nano)
			if _, err := q.exec(ctx, `UPDATE reservations SET nano = 0, until = NULL
				WHERE tenant = $1 AND reservation_id = $2 AND scope = $3`, h.tenant, h.id, h.scope); err != nil {
				return err
			}
		}
		freed = len(over)
		if err := change.apply(ctx, q); err != nil {
			return err
		}
		for _, statement := range []string{
			"DELETE FROM reservations WHERE day < @now / 86400000000 - $2 AND until IS NULL",
			"DELETE FROM spend WHERE day < @now / 86400000000 - $2",
		} {
			if _, err := q.exec(ctx, statement, d.clock(), spendDays); err != nil {
				return err
			}
		}
		return nil
	})
	return freed, failing("taking back reservations", err)
}

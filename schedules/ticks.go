package schedules

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// FieldError is a field of a request that is wrong; its words are for callers.
type FieldError struct {
	// Field is `cron`, `time_zone`, or a path below `task`.
	Field string
	// Problem says what is wrong, and what would be right.
	Problem string
}

// Error says which field and what.
func (e *FieldError) Error() string { return e.Field + ": " + e.Problem }

// Ticks are when a schedule fires. A tick is a time that the zone's clock
// shows: one that the clock jumps over is left out, and one that it shows twice
// is the first of the two. Ticks of `@every` are counted from their start and
// know no clock.
type Ticks struct {
	// spec is evaluated as if the zone's clock never jumped; nil for every.
	spec  cron.Schedule
	zone  *time.Location
	every time.Duration
}

const (
	leastEvery = time.Minute
	mostEvery  = 366 * 24 * time.Hour
)

// Parse reads a cron expression: five fields or a descriptor, in an IANA time
// zone, UTC when it is empty. What is wrong with either, and an expression that
// never fires, is a *FieldError.
func Parse(expression, timeZone string) (Ticks, error) {
	zone, err := parseZone(timeZone)
	if err != nil {
		return Ticks{}, err
	}
	expression = strings.TrimSpace(expression)
	if length, ok := strings.CutPrefix(expression, "@every"); ok {
		every, err := parseEvery(length)
		return Ticks{zone: zone, every: every}, err
	}
	if !strings.HasPrefix(expression, "@") {
		if err := checkFields(strings.Fields(expression)); err != nil {
			return Ticks{}, err
		}
	}
	parser := cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor)
	spec, err := parser.Parse(expression)
	if err != nil {
		return Ticks{}, &FieldError{"cron", fmt.Sprintf(
			"no descriptor %q; there are @hourly, @daily, @weekly, @monthly, @yearly and @every 10m", expression)}
	}
	if parsed, ok := spec.(*cron.SpecSchedule); ok {
		parsed.Location = time.UTC
	}
	ticks := Ticks{spec: spec, zone: zone}
	if ticks.Next(time.Now()).IsZero() {
		return Ticks{}, &FieldError{"cron", fmt.Sprintf("%q never fires", expression)}
	}
	return ticks, nil
}

func parseZone(name string) (*time.Location, error) {
	if name == "Local" { // which Go would make the server's own
		return nil, &FieldError{"time_zone", `no time zone "Local"; an IANA name such as Europe/Berlin is wanted`}
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		return nil, &FieldError{"time_zone", fmt.Sprintf("no time zone %q; an IANA name such as Europe/Berlin is wanted", name)}
	}
	return zone, nil
}

func parseEvery(length string) (time.Duration, error) {
	every, err := time.ParseDuration(strings.TrimSpace(length))
	switch {
	case err != nil || length[0] != ' ':
		return 0, &FieldError{"cron", "@every wants a duration such as @every 10m"}
	case every < leastEvery || every > mostEvery || every%time.Second != 0:
		return 0, &FieldError{"cron", "@every wants 1m to 8784h, in whole seconds"}
	}
	return every, nil
}

// field is one of a cron expression's five.
type field struct{ name, wants string }

func fieldNames() []field {
	return []field{
		{"minute", "0 to 59"},
		{"hour", "0 to 23"},
		{"day of month", "1 to 31"},
		{"month", "1 to 12 or JAN to DEC"},
		{"day of week", "0 (Sunday) to 6 or SUN to SAT"},
	}
}

// checkFields says which field is wrong, where the parser says only why.
func checkFields(fields []string) error {
	names := fieldNames()
	if slices.ContainsFunc(fields, func(text string) bool { return strings.Contains(text, "=") }) {
		return &FieldError{"cron", "sets a variable; a time zone belongs into time_zone"}
	}
	if len(fields) != len(names) {
		return &FieldError{"cron", fmt.Sprintf(
			"has %d fields; it wants five (minute, hour, day of the month, month and weekday) such as 30 8 * * MON-FRI, or a descriptor such as @daily",
			len(fields))}
	}
	kinds := []cron.ParseOption{cron.Minute, cron.Hour, cron.Dom, cron.Month, cron.Dow}
	for i, text := range fields {
		if err := checkField(text, kinds[i]); err != nil {
			return &FieldError{"cron", fmt.Sprintf("%s: %q is wrong; it wants %s, or lists, ranges and steps of them such as %s",
				names[i].name, text, names[i].wants, "1,2 or 1-5 or */2")}
		}
	}
	return nil
}

// errEmptyItem is a list such as `1,,2`, which the parser lets through; one of
// nothing else would have it look for a tick for years.
var errEmptyItem = errors.New("an item of the list is empty")

func checkField(text string, kind cron.ParseOption) error {
	for item := range strings.SplitSeq(text, ",") {
		if item == "" {
			return errEmptyItem
		}
	}
	_, err := cron.NewParser(kind).Parse(text)
	return err //nolint:wrapcheck // it is only looked at
}

// Next returns the first tick after t, in UTC; zero when none comes in the next
// five years. The ticks of `@every` are then t and so many times its length.
func (ticks Ticks) Next(t time.Time) time.Time {
	if ticks.every > 0 {
		return t.UTC().Truncate(time.Second).Add(ticks.every)
	}
	shown := clockOf(t.In(ticks.zone))
	for {
		if shown = ticks.spec.Next(shown); shown.IsZero() {
			return time.Time{}
		}
		if tick, ok := firstShown(shown, ticks.zone); ok && tick.After(t) {
			return tick
		}
	}
}

// Latest returns the last of the ticks from the tick first up to now, for
// which first is good if there is no other.
func (ticks Ticks) Latest(first, now time.Time) time.Time {
	if ticks.every > 0 {
		missed := max(now.Sub(first), 0)
		return first.Add(missed - missed%ticks.every)
	}
	// Looks back further and further, so that a tick a minute and an outage of
	// a year do not mean half a million steps.
	for back := time.Minute; now.Add(-back).After(first); back *= 2 {
		if latest := ticks.last(now.Add(-back), now); !latest.IsZero() {
			return latest
		}
	}
	if latest := ticks.last(first, now); !latest.IsZero() {
		return latest
	}
	return first
}

// last returns the last tick after from up to now; zero for none.
func (ticks Ticks) last(from, now time.Time) (latest time.Time) {
	for tick := ticks.Next(from); !tick.IsZero() && !tick.After(now); tick = ticks.Next(tick) {
		latest = tick
	}
	return latest
}

// clockOf is what the clock shows at t, as a time in UTC.
func clockOf(t time.Time) time.Time {
	return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), time.UTC)
}

// firstShown returns when the zone's clock first shows what shown is in UTC;
// false when it never does.
func firstShown(shown time.Time, zone *time.Location) (first time.Time, ok bool) {
	const day = 24 * time.Hour
	for _, near := range []time.Duration{-day, day} {
		_, offset := shown.Add(near).In(zone).Zone()
		at := shown.Add(-time.Duration(offset) * time.Second)
		if clockOf(at.In(zone)).Equal(shown) && (!ok || at.Before(first)) {
			first, ok = at, true
		}
	}
	return first, ok
}

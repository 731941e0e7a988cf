package schedules

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/robfig/cron/v3"
	"pgregory.net/rapid"
)

func mustParse(t testing.TB, expression, zone string) Ticks {
	t.Helper()
	ticks, err := Parse(expression, zone)
	if err != nil {
		t.Fatal(err)
	}
	return ticks
}

func at(t testing.TB, text string) time.Time {
	t.Helper()
	parsed, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

func TestTicks(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		cron, zone, from string
		want             []string
	}{
		"working days": {
			"30 8 * * MON-FRI", "Europe/Berlin", "2026-07-02T06:30:00Z",
			[]string{"2026-07-03T06:30:00Z", "2026-07-06T06:30:00Z"},
		},
		"descriptor": {"@monthly", "", "2026-01-31T23:59:59Z", []string{"2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z"}},
		"every":      {"@every 90s", "Asia/Tokyo", "2026-01-01T00:00:00.7Z", []string{"2026-01-01T00:01:30Z", "2026-01-01T00:03:00Z"}},
		"leap day":   {"0 0 29 2 *", "UTC", "2024-03-01T00:00:00Z", []string{"2028-02-29T00:00:00Z"}},
		"a gap is left out": {
			"30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z",
			[]string{"2026-03-30T00:30:00Z", "2026-03-31T00:30:00Z"},
		},
		"around a gap": {
			"*/30 * * * *", "Europe/Berlin", "2026-03-29T00:30:00Z",
			[]string{"2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z"},
		},
		"a doubled time fires once": {
			"30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z",
			[]string{"2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"},
		},
		"from within the second of two hours": {
			"30 2 * * *", "Europe/Berlin", "2026-10-25T01:10:00Z", []string{"2026-10-26T01:30:00Z"},
		},
		"noon of a day without midnight": {
			"0 12 18 10 *", "America/Sao_Paulo", "2015-10-01T00:00:00Z", []string{"2015-10-18T14:00:00Z"},
		},
		"midnight that is not shown": {
			"0 0 * * *", "America/Sao_Paulo", "2015-10-17T12:00:00Z", []string{"2015-10-19T02:00:00Z"},
		},
		"a gap of half an hour": {
			"15 2 * * *", "Australia/Lord_Howe", "2026-10-03T00:00:00Z", []string{"2026-10-04T15:15:00Z"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ticks, tick := mustParse(t, test.cron, test.zone), at(t, test.from)
			for i, want := range test.want {
				if tick = ticks.Next(tick); !tick.Equal(at(t, want)) {
					t.Fatalf("tick %d is %v, want %v", i, tick, want)
				}
			}
		})
	}
}

func TestWhatIsWrongIsSaid(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ cron, zone, field, says string }{
		"few fields":   {"0 8 * *", "", "cron", "has 4 fields"},
		"seconds":      {"0 0 8 * * *", "", "cron", "has 6 fields"},
		"nothing":      {"  ", "", "cron", "has 0 fields"},
		"minute":       {"60 8 * * *", "", "cron", `minute: "60"`},
		"hour":         {"0 24 * * *", "", "cron", `hour: "24"`},
		"day":          {"0 0 0 * *", "", "cron", `day of month: "0"`},
		"month":        {"0 0 1 DEZ *", "", "cron", `month: "DEZ"`},
		"weekday":      {"0 0 * * 7", "", "cron", `day of week: "7"`},
		"empty item":   {"0 1, * * *", "", "cron", `hour: "1,"`},
		"only a comma": {", * * * *", "", "cron", `minute: ","`},
		"zero step":    {"*/0 * * * *", "", "cron", `minute: "*/0"`},
		"backwards":    {"0 5-1 * * *", "", "cron", `hour: "5-1"`},
		"never":        {"0 0 30 2 *", "", "cron", "never fires"},
		"zone in cron": {"TZ=UTC 0 8 * * *", "", "cron", "time_zone"},
		"zone within":  {"0 TZ=UTC * * *", "", "cron", "time_zone"},
		"descriptor":   {"@fortnightly", "", "cron", "@weekly"},
		"every what":   {"@every", "", "cron", "@every 10m"},
		"run together": {"@every10m", "", "cron", "@every 10m"},
		"every second": {"@every 1s", "", "cron", "1m to"},
		"every split":  {"@every 90500ms", "", "cron", "whole seconds"},
		"for ever":     {"@every 9000h", "", "cron", "1m to"},
		"zone":         {"0 8 * * *", "Europe/Atlantis", "time_zone", "Europe/Berlin"},
		"local":        {"0 8 * * *", "Local", "time_zone", "Local"},
		"path":         {"0 8 * * *", "../../etc/passwd", "time_zone", "no time zone"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := Parse(test.cron, test.zone)
			wrong, ok := errors.AsType[*FieldError](err)
			if !ok || wrong.Field != test.field || !strings.Contains(wrong.Problem, test.says) {
				t.Errorf("got %v, want %s: … %s", err, test.field, test.says)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"30 8 * * MON-FRI", "@daily", "@every 10m", "CRON_TZ= 1", "1-2-3 */5 ? L #", "0 0 30 2 *"} {
		f.Add(seed, "Europe/Berlin")
	}
	f.Fuzz(func(t *testing.T, expression, zone string) {
		ticks, err := Parse(expression, zone)
		if err != nil {
			if _, ok := errors.AsType[*FieldError](err); !ok {
				t.Errorf("%q in %q is no *FieldError: %v", expression, zone, err)
			}
			return
		}
		from := time.Date(2026, 10, 24, 12, 0, 0, 0, time.UTC)
		if next := ticks.Next(from); !next.IsZero() && !next.After(from) {
			t.Errorf("%q in %q: the tick after %v is %v", expression, zone, from, next)
		}
	})
}

// Latest is the tick that walking all of them ends at.
func TestLatestIsTheLastThatWasMissed(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		expression := rapid.SampledFrom([]string{
			"* * * * *", "*/7 3 * * *", "0 0 * * MON", "15 2 * * *", "0 12 1 * *", "@hourly", "@every 7m", "@every 36h",
		}).Draw(r, "cron")
		zone := rapid.SampledFrom([]string{"UTC", "Europe/Berlin", "America/New_York"}).Draw(r, "zone")
		ticks := mustParse(t, expression, zone)
		begin := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(rapid.IntRange(0, 300*24).Draw(r, "hours")) * time.Hour)
		first := ticks.Next(begin)
		now := first.Add(time.Duration(rapid.IntRange(0, 4*24*3600).Draw(r, "seconds")) * time.Second)
		want := first
		for tick := ticks.Next(first); !tick.After(now); tick = ticks.Next(tick) {
			want = tick
		}
		if got := ticks.Latest(first, now); !got.Equal(want) {
			r.Errorf("%s in %s from %v to %v: got %v, want %v", expression, zone, first, now, got, want)
		}
	})
}

// counting counts how often the ticks are asked for.
type counting struct {
	cron.Schedule

	asked *int
}

func (c counting) Next(t time.Time) time.Time {
	*c.asked++
	return c.Schedule.Next(t)
}

// An outage of years costs no time at a tick a minute.
func TestLatestIsQuickAfterYears(t *testing.T) {
	t.Parallel()
	ticks, asked := mustParse(t, "* * * * *", "Europe/Berlin"), 0
	ticks.spec = counting{ticks.spec, &asked}
	got := ticks.Latest(at(t, "2020-01-01T00:00:00Z"), at(t, "2026-01-01T00:00:30Z"))
	if !got.Equal(at(t, "2026-01-01T00:00:00Z")) || asked > 10 {
		t.Errorf("got %v with %d steps", got, asked)
	}
}

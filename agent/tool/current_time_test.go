package tool

import (
	"strings"
	"testing"
	"time"
)

func TestCurrentTime(t *testing.T) {
	t.Parallel()
	summer := time.Date(2026, time.July, 4, 22, 30, 5, 999, time.UTC)
	winter := time.Date(2026, time.January, 1, 3, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		now             time.Time
		arguments, want string
	}{
		{summer, ``, "2026-07-04T22:30:05Z (Saturday, UTC)"},
		{summer, `{"time_zone": ""}`, "2026-07-04T22:30:05Z (Saturday, UTC)"},
		{summer, `{"time_zone": "utc"}`, "2026-07-04T22:30:05Z (Saturday, UTC)"},
		{summer, `{"time_zone": "Europe/Berlin"}`, "2026-07-05T00:30:05+02:00 (Sunday, Europe/Berlin)"},
		{winter, `{"time_zone": "Europe/Berlin"}`, "2026-01-01T04:00:00+01:00 (Thursday, Europe/Berlin)"},
		{winter, `{"time_zone": "America/Argentina/Buenos_Aires"}`, "2026-01-01T00:00:00-03:00 (Thursday, America/Argentina/Buenos_Aires)"},
		{winter, `{"time_zone": "America/Los_Angeles"}`, "2025-12-31T19:00:00-08:00 (Wednesday, America/Los_Angeles)"},
		{winter, `{"time_zone": "Asia/Kathmandu"}`, "2026-01-01T08:45:00+05:45 (Thursday, Asia/Kathmandu)"},
		{winter, `{"time_zone": "Etc/GMT+5"}`, "2025-12-31T22:00:00-05:00 (Wednesday, Etc/GMT+5)"},
	} {
		t.Run(c.arguments, func(t *testing.T) {
			t.Parallel()
			if got, err := clock(t, c.now).Call(t.Context(), c.arguments); err != nil || got != c.want {
				t.Errorf("got %q, %v; want %q", got, err, c.want)
			}
		})
	}
}

func TestTimeZonesRefused(t *testing.T) {
	t.Parallel()
	for _, zone := range []string{
		"Local", "localtime", "right/Europe/Berlin", "posixrules", "europe/berlin", "Europe/Atlantis", "CET Berlin",
		"../../etc/passwd", "/etc/localtime", `Europe\\Berlin`, "Europe/../Europe/Berlin", "Europe//Berlin", "Europe/Berlin/", "UTC+2:00", "☀",
	} {
		t.Run(zone, func(t *testing.T) {
			t.Parallel()
			_, err := clock(t, time.Now()).Call(t.Context(), `{"time_zone": "`+zone+`"}`)
			failure := asError(t, err)
			if failure.Type != Failed || !strings.Contains(failure.Message, "use an IANA name such as Europe/Berlin") {
				t.Errorf("got %s %q, want a failure that says what a zone's name looks like", failure.Type, failure.Message)
			}
		})
	}
	_, err := clock(t, time.Now()).Call(t.Context(), `{"time_zone": "`+strings.Repeat("A", 65)+`"}`)
	if failure := asError(t, err); failure.Type != InvalidArguments {
		t.Errorf("a zone of 65 letters: got %v, want it refused", failure)
	}
}

func clock(t *testing.T, now time.Time) *Tool {
	t.Helper()
	made, err := New(currentTime(func() time.Time { return now }))
	if err != nil {
		t.Fatal(err)
	}
	return made
}

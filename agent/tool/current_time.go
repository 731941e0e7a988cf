package tool

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"time"
	_ "time/tzdata" // the host may have no time zones; these take 450 KB of the binary
)

// zonePattern leaves out what lies beside the zones in a host's folder of them:
// `localtime`, `right/…` and the like begin in lower case.
var zonePattern = regexp.MustCompile(`^[A-Z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*$`)

func currentTime(now func() time.Time) (Definition, Func) {
	def := Definition{
		Name:        "current_time",
		Description: "Tells the current date, time of day and weekday in a time zone.",
		Effect:      Pure,
		Parameters: json.RawMessage(`{
			"type": "object",
			"properties": {
				"time_zone": {
					"type": "string",
					"maxLength": 64,
					"description": "IANA name such as Europe/Berlin; UTC when absent"
				}
			},
			"additionalProperties": false
		}`),
	}
	return def, func(_ context.Context, arguments json.RawMessage) (string, error) {
		var args struct {
			TimeZone string `json:"time_zone"`
		}
		if err := json.Unmarshal(arguments, &args); err != nil {
			return "", fmt.Errorf("reading the arguments: %w", err)
		}
		zone, err := loadZone(args.TimeZone)
		if err != nil {
			return "", err
		}
		t := now().In(zone)
		return fmt.Sprintf("%s (%s, %s)", t.Format(time.RFC3339), t.Weekday(), zone), nil
	}
}

func loadZone(name string) (*time.Location, error) {
	if name == "" || strings.EqualFold(name, "UTC") {
		return time.UTC, nil
	}
	// The zone that Go calls Local is the host's, which is nobody's business.
	if name != "Local" && zonePattern.MatchString(name) {
		if zone, err := time.LoadLocation(name); err == nil {
			return zone, nil
		}
	}
	return nil, fmt.Errorf("unknown time zone %q: use an IANA name such as Europe/Berlin, America/New_York or UTC", name)
}

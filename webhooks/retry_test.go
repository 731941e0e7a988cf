package webhooks

import (
	"net/http"
	"testing"
	"time"
)

// The tries of a delivery that never comes through are those of the table, a
// fifth sooner or later.
func TestADayOfTries(t *testing.T) {
	t.Parallel()
	for range 200 {
		var ages []time.Duration
		for age := time.Duration(0); ; {
			ages = append(ages, age)
			wait, more := nextTry(age, 0)
			if !more {
				break
			}
			if usual := min(max(2*age, firstWait), longestWait); age+usual < giveUpAfter*8/10 &&
				(wait < usual*8/10 || wait > usual*12/10) {
				t.Fatalf("at %v it waits %v, want about %v", age, wait, usual)
			}
			age += wait
		}
		if last := ages[len(ages)-1]; last < giveUpAfter || last > giveUpAfter+leastWait {
			t.Fatalf("the last try is at %v", last)
		}
		if len(ages) < 12 || len(ages) > 16 {
			t.Fatalf("%d tries: %v", len(ages), ages)
		}
	}
}

func TestWaitsAreSpread(t *testing.T) {
	t.Parallel()
	seen := map[time.Duration]bool{}
	for range 100 {
		wait, _ := nextTry(time.Minute, 0)
		seen[wait] = true
	}
	if len(seen) < 50 {
		t.Errorf("100 deliveries have %d waits", len(seen))
	}
}

func TestTheReceiversWordCountsWithinBounds(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	for name, test := range map[string]struct {
		said string
		age  time.Duration
		want time.Duration
	}{
		"seconds":        {"120", time.Hour, 2 * time.Minute},
		"a date":         {"Mon, 04 May 2026 12:05:00 GMT", time.Hour, 5 * time.Minute},
		"too long":       {"999999", time.Hour, longestWait},
		"past the day":   {"7200", 23 * time.Hour, time.Hour},
		"a year":         {"Tue, 04 May 2027 12:00:00 GMT", time.Hour, longestWait},
		"just before it": {"60", giveUpAfter - time.Millisecond, leastWait},
	} {
		wait, more := nextTry(test.age, retryAfter(http.Header{"Retry-After": {test.said}}, now))
		if wait != test.want || !more {
			t.Errorf("%s: waits %v, %v, want %v", name, wait, more, test.want)
		}
	}
	for _, said := range []string{"", "0", "-5", "soon", "99999999999999999999", "Mon, 04 May 2020 12:00:00 GMT"} {
		if asked := retryAfter(http.Header{"Retry-After": {said}}, now); asked != 0 {
			t.Errorf("%q asks for %v", said, asked)
		}
	}
}

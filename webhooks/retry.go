package webhooks

import (
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"
)

// How a delivery is tried again. Each wait is twice the age that the delivery
// has by then, which makes tries at about 0 s, 5 s, 15 s, 45 s, 2 min, 7 min,
// 20 min, 1 h, 3 h, 9 h, 15 h, 21 h and 24 h: a delivery that has waited for
// anything else, such as a server that was down, is not tried in a hurry.
const (
	firstWait   = 5 * time.Second
	longestWait = 6 * time.Hour
	giveUpAfter = 24 * time.Hour
	// leastWait keeps a receiver's own word from being a hurry.
	leastWait = time.Second
)

// nextTry returns when to try again a delivery of that age; asked is what the
// receiver has asked for, or 0. It returns false when a day has passed.
func nextTry(age, asked time.Duration) (time.Duration, bool) {
	if age >= giveUpAfter {
		return 0, false
	}
	wait := min(max(2*age, firstWait), longestWait)
	wait += time.Duration((rand.Float64() - 0.5) / 2.5 * float64(wait)) // a fifth more or less
	if asked > 0 {
		wait = min(max(asked, leastWait), longestWait)
	}
	return min(wait, max(giveUpAfter-age, leastWait)), true
}

// retryAfter is what a receiver asks for, in seconds or as a date; 0 for nothing.
func retryAfter(header http.Header, now time.Time) time.Duration {
	text := header.Get("Retry-After")
	if seconds, err := strconv.ParseInt(text, 10, 32); err == nil {
		return time.Duration(max(seconds, 0)) * time.Second
	}
	if date, err := http.ParseTime(text); err == nil {
		return max(date.Sub(now), 0)
	}
	return 0
}

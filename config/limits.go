package config

import "time"

const (
	mostRequests = 10_000_000
	mostRuns     = 1_000_000
	leastWindow  = time.Millisecond
	mostWindow   = 24 * time.Hour
)

func defaultGlobalLimits() GlobalLimits { return GlobalLimits{Window: time.Minute} }

// limits reads `limits`.
func (v value) limits() Limits {
	limits := Limits{Global: defaultGlobalLimits()}
	requests, window := -1, time.Duration(-1)
	v.object(fields{
		"per_user": func(v value) {
			v.object(fields{
				"requests":         whole(&requests, 0, mostRequests),
				"window":           duration(&window, leastWindow, mostWindow),
				"concurrent_runs":  whole(&limits.PerUser.ConcurrentRuns, 0, mostRuns),
				"cost_usd_per_day": dollars(&limits.PerUser.CostPerDay, 1, mostCost),
			})
		},
		"global": func(v value) {
			v.object(fields{
				"requests": whole(&limits.Global.Requests, 0, mostRequests),
				"window":   duration(&limits.Global.Window, leastWindow, mostWindow),
			})
		},
	})
	if requests >= 0 {
		limits.PerUser.Requests = &requests
	}
	if window >= 0 {
		limits.PerUser.Window = &window
	}
	return limits
}

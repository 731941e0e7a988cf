package main

import (
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"
)

// moment is a time on the command line: a day of UTC, RFC 3339, or a duration
// from now.
type moment struct {
	at     time.Time
	offset time.Duration
	said   bool
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (m *moment) UnmarshalText(text []byte) error {
	said := string(text)
	for _, layout := range []string{time.DateOnly, time.RFC3339} {
		if at, err := time.Parse(layout, said); err == nil {
			*m = moment{at: at, said: true}
			return nil
		}
	}
	offset, err := time.ParseDuration(said)
	if err != nil || offset < 0 {
		return fmt.Errorf("%q is %w", said, errNoMoment)
	}
	*m = moment{offset: offset, said: true}
	return nil
}

var errNoMoment = errors.New("no time such as 10m, 2026-03-01 or 2026-03-01T08:30:00Z")

// after is the moment, a duration being one to wait; nil when it was not said.
func (m moment) after(now time.Time) *timestamppb.Timestamp { return m.time(now.Add(m.offset)) }

// before is the moment, a duration being one that has passed.
func (m moment) before(now time.Time) *timestamppb.Timestamp { return m.time(now.Add(-m.offset)) }

func (m moment) time(moved time.Time) *timestamppb.Timestamp {
	switch {
	case !m.said:
		return nil
	case m.at.IsZero():
		return timestamppb.New(moved)
	default:
		return timestamppb.New(m.at)
	}
}

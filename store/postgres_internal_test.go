package store

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

func TestWhatWasNotSentIsTriedAgainForLessThanASecond(t *testing.T) {
	t.Parallel()
	refused := &net.OpError{Op: "dial", Err: errors.New("connection refused")}
	for name, test := range map[string]struct {
		err   error
		fails int
		calls int
	}{
		"once":        {refused, 1, 2},
		"starting":    {&pgconn.PgError{Code: "57P03"}, 2, 3},
		"all along":   {refused, 100, 5},
		"cut off":     {&net.OpError{Op: "read", Err: errors.New("reset")}, 1, 1},
		"shut down":   {&pgconn.PgError{Code: "57P01"}, 1, 1},
		"not at all":  {nil, 0, 1},
		"another one": {errors.New("a bug"), 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				calls, begin := 0, time.Now()
				err := (&postgresEngine{}).try(t.Context(), func() error {
					if calls++; calls <= test.fails {
						return test.err
					}
					return nil
				})
				if calls != test.calls || (err != nil) != (calls <= test.fails) {
					t.Errorf("got error %v after %d calls, want %d", err, calls, test.calls)
				}
				if took := time.Since(begin); took >= time.Second {
					t.Errorf("it took %v", took)
				}
			})
		})
	}
}

func TestACallThatIsCancelledIsNotTriedAgain(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	calls := 0
	err := (&postgresEngine{}).try(ctx, func() error {
		calls++
		cancel()
		return &net.OpError{Op: "dial", Err: errors.New("connection refused")}
	})
	if err == nil || calls != 1 {
		t.Errorf("got error %v after %d calls", err, calls)
	}
}

func TestABadAddressIsNotTold(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"postgres://ann:secret@host:port/db", "postgres://ann:secret@[", "password=secret port=none"} {
		_, err := OpenPostgres(t.Context(), address, Options{})
		if !errors.Is(err, ErrInvalid) || strings.Contains(err.Error(), "secret") {
			t.Errorf("got error %v", err)
		}
	}
}

package telemetry

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestFailuresAreLoggedOnceAMinute(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		failures := newFailureLog(NewLogger(&out, FormatJSON, slog.LevelInfo), "traces")
		lines := func() int { return strings.Count(out.String(), "\n") }

		for range 60 { // a minute of failures
			failures.add(t.Context(), errors.New("refused"))
			time.Sleep(time.Second) //nolint:forbidigo // the bubble's clock: nothing waits
		}
		if lines() != 1 {
			t.Errorf("%d lines in the first minute, want 1: %s", lines(), &out)
		}
		failures.add(t.Context(), errors.New("refused"))
		if lines() != 2 || !strings.Contains(out.String(), `"level":"WARN"`) || !strings.Contains(out.String(), `"signal":"traces","failures":60`) {
			t.Errorf("want a second line that counts the quiet failures, got %s", &out)
		}
	})
}

//go:build linux

// Package torture runs Runwire's processes on PostgreSQL and a NATS cluster,
// kills them, and takes away what they stand on, while tasks run. Then it adds
// up what is kept, what was said, and what was paid for.
package torture

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

package store_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// TestMain runs the tests, or what a test has its own binary run in a process
// that may be killed.
func TestMain(m *testing.M) {
	if file := os.Getenv(childFile); file != "" {
		os.Exit(runChild(os.Getenv(childRole), file))
	}
	goleak.VerifyTestMain(m)
}

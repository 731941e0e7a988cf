package mcp

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// TestMain runs the tests, or is one of the servers that they start.
func TestMain(m *testing.M) {
	if role := os.Getenv("FAKE_MCP_SERVER"); role != "" {
		fake(role)
		return
	}
	goleak.VerifyTestMain(m)
}

package main

import (
	"fmt"
	"runtime"

	"github.com/runwire/runwire/telemetry"
)

type versionCommand struct{}

// Run prints the version, and what the binary was built with and for.
func (versionCommand) Run(term terminal) error {
	_, err := fmt.Fprintf(term.out, "runwire %s (%s, %s/%s)\n",
		telemetry.Version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}

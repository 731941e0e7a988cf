//go:build unix

package server

import (
	"os"
	"syscall"
)

// lockFile takes file for this process, or fails if another has it. The
// system gives it back when the process ends.
func lockFile(file *os.File) error {
	return syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) //nolint:wrapcheck // whoever locks says so
}

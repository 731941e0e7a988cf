package store_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/runwire/runwire/store"
)

// The lock of a migration fails for more reasons than another process that has it.
func TestAMigrationThatCanNotBeLockedBlamesNoOtherProcess(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "runwire.db")
	if err := os.Mkdir(file+".lock", 0o700); err != nil { // as a full disk does, it makes the lock fail
		t.Fatal(err)
	}
	db, err := store.OpenSQLite(t.Context(), file, store.Options{})
	if err == nil {
		closeStore(t, db)
	}
	if !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "locking the database for its migration: ") {
		t.Errorf("got %v", err)
	}
}

//go:build unix

package store_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/runwire/runwire/store"
)

// What tells this binary to be a child: the store's file, and what to do.
const (
	childFile = "RUNWIRE_TEST_CHILD_FILE"
	childRole = "RUNWIRE_TEST_CHILD_ROLE"
)

func child(t *testing.T, role, file string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childFile+"="+file, childRole+"="+role)
	cmd.Stderr = os.Stderr
	return cmd
}

func runChild(role, file string) int {
	run := map[string]func(context.Context, string) error{"submit": submitUntilKilled, "fill": fillDisk}[role]
	if err := run(context.Background(), file); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// submitUntilKilled prints the id of each task that was acknowledged.
func submitUntilKilled(ctx context.Context, file string) error {
	db, err := store.OpenSQLite(ctx, file, store.Options{})
	if err != nil {
		return err
	}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for {
				task, _, err := db.SubmitTask(ctx, spec())
				if err != nil {
					return
				}
				fmt.Fprintln(os.Stdout, task.ID)
			}
		})
	}
	all.Wait()
	return errors.New("it was not killed")
}

func TestWhatIsAcknowledgedSurvivesAKill(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "runwire.db")
	var acknowledged []string
	for range 3 { // the second and third time there is a log to recover
		cmd := child(t, "submit", file)
		output, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(output)
		for count := 0; lines.Scan(); count++ {
			if count == 500 {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
			if len(lines.Text()) == len(spec().ID) { // the last line may be cut
				acknowledged = append(acknowledged, lines.Text())
			}
		}
		_ = cmd.Wait() // it was killed
	}
	if len(acknowledged) < 1500 {
		t.Fatalf("only %d tasks were acknowledged", len(acknowledged))
	}
	db, err := store.OpenSQLite(t.Context(), file, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer closeStore(t, db)
	for _, id := range acknowledged {
		if _, err := db.GetTask(t.Context(), "default", id); err != nil {
			t.Fatalf("%s is lost: %v", id, err)
		}
	}
}

func TestAFullDiskIsUnavailableUntilThereIsRoom(t *testing.T) {
	t.Parallel()
	if err := child(t, "fill", filepath.Join(t.TempDir(), "runwire.db")).Run(); err != nil {
		t.Fatal(err)
	}
}

// fillDisk writes until the system refuses, as it does when a disk is full;
// then makes room and goes on, with the same store.
func fillDisk(ctx context.Context, file string) error {
	signal.Ignore(syscall.SIGXFSZ)
	db, err := store.OpenSQLite(ctx, file, store.Options{})
	if err != nil {
		return err
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		return err
	}
	room := limit.Cur
	limit.Cur = 1 << 20
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		return err
	}
	written, err := submitUntilFull(ctx, db)
	if err != nil {
		return err
	}
	if err := listsAll(ctx, db, written); err != nil {
		return err
	}
	limit.Cur = room
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		return err
	}
	for range 10 {
		if _, _, err := db.SubmitTask(ctx, bigSpec()); err != nil {
			return fmt.Errorf("once there is room: %w", err)
		}
	}
	return errors.Join(listsAll(ctx, db, written+10), db.Close())
}

func bigSpec() store.TaskSpec {
	s := spec()
	s.Request, s.Labels = []byte(strings.Repeat("x", 10_000)), map[string]string{"a": "b"}
	return s
}

// submitUntilFull ends when nothing has come through for a while: a write that
// fails may make room for the next.
func submitUntilFull(ctx context.Context, db *store.DB) (written int, err error) {
	for failures := 0; failures < 10; {
		switch _, _, err := db.SubmitTask(ctx, bigSpec()); {
		case err == nil:
			written++
			failures = 0
		case errors.Is(err, store.ErrUnavailable):
			failures++
		default:
			return written, fmt.Errorf("after %d writes: %w", written, err)
		}
	}
	if written == 0 {
		return 0, errors.New("nothing was written")
	}
	return written, nil
}

// listsAll: no task is lost, and none is half there.
func listsAll(ctx context.Context, db *store.DB, want int) error {
	for _, labels := range []map[string]string{nil, {"a": "b"}} {
		tasks, _, err := db.ListTasks(ctx, store.TaskFilter{Tenant: "default", Labels: labels}, store.Page{Size: 1000})
		if err != nil {
			return fmt.Errorf("listing: %w", err)
		}
		if len(tasks) != want {
			return fmt.Errorf("%d tasks are listed by %v, want %d", len(tasks), labels, want)
		}
	}
	return nil
}

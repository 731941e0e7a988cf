//go:build unix

// Package postgres runs a throw-away PostgreSQL server for tests, from the
// binaries that are installed. It must not know what is kept in it.
package postgres

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Server is a PostgreSQL server of its own, with its files in a folder of its
// own, that listens on a socket there and nowhere else. It syncs what it
// commits. Safe for concurrent use but for Start and Stop.
type Server struct {
	bin     string
	dir     string
	account *syscall.SysProcAttr
	schemas atomic.Int64
	plain   func() error // makes what Plain needs, once

	process *exec.Cmd
	// alive keeps the server running until it is closed; the system closes it
	// when the test's process dies, whatever it dies of.
	alive  io.WriteCloser
	output *bytes.Buffer
}

// binaries is the folder of the newest version that is installed, or empty.
func binaries() string {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin") // the pattern is right
	if path, err := exec.LookPath("initdb"); err == nil {
		found = append(found, filepath.Dir(path))
	}
	slices.SortFunc(found, func(a, b string) int { return version(a) - version(b) })
	for _, dir := range slices.Backward(found) {
		if _, err := os.Stat(filepath.Join(dir, "postgres")); err == nil {
			return dir
		}
	}
	return ""
}

func version(bin string) int {
	number, _ := strconv.Atoi(filepath.Base(filepath.Dir(bin))) // 0 when the folder does not tell
	return number
}

// Start makes a server that runs until the test, with all its subtests, ends.
// The test is skipped when PostgreSQL is not installed.
func Start(tb testing.TB) *Server {
	tb.Helper()
	s := &Server{bin: binaries()}
	s.plain = sync.OnceValue(func() error {
		return s.run(tb.Context(), address{}, "CREATE ROLE plain LOGIN", "CREATE DATABASE plain")
	})
	if s.bin == "" {
		tb.Skip("PostgreSQL is not installed")
	}
	if err := s.prepare(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if s.alive != nil {
			s.Stop(tb)
		}
		if err := os.RemoveAll(s.dir); err != nil {
			tb.Error(err)
		}
	})
	s.Start(tb)
	return s
}

// prepare makes the server's folder and an empty database in it.
func (s *Server) prepare(ctx context.Context) (err error) {
	// The name of a socket in it has to be short.
	if s.dir, err = os.MkdirTemp("/tmp", "pg"); err != nil {
		return fmt.Errorf("making a folder: %w", err)
	}
	if err := s.unprivileged(); err != nil {
		return err
	}
	initdb := exec.CommandContext(ctx, filepath.Join(s.bin, "initdb"),
		"--pgdata", s.data(), "--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync")
	initdb.Dir, initdb.SysProcAttr = s.dir, s.account
	if output, err := initdb.CombinedOutput(); err != nil {
		return fmt.Errorf("making a database: %w\n%s", err, output)
	}
	return nil
}

// unprivileged has the server run as somebody else if this is root, whom
// PostgreSQL refuses.
func (s *Server) unprivileged() error {
	if os.Getuid() != 0 {
		return nil
	}
	account, err := user.Lookup("postgres")
	if err != nil {
		account, err = user.Lookup("nobody")
	}
	if err != nil {
		return fmt.Errorf("finding an account for the server: %w", err)
	}
	uid, err := strconv.ParseUint(account.Uid, 10, 32)
	if err != nil {
		return fmt.Errorf("reading the account's number: %w", err)
	}
	gid, err := strconv.ParseUint(account.Gid, 10, 32)
	if err != nil {
		return fmt.Errorf("reading the account's group: %w", err)
	}
	s.account = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	if err := os.Chown(s.dir, int(uid), int(gid)); err != nil {
		return fmt.Errorf("giving the folder away: %w", err)
	}
	return nil
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

// Start runs the server, after Stop, and returns once it answers.
func (s *Server) Start(tb testing.TB) {
	tb.Helper()
	// The shell stops the server once its input ends, by the signal that it has
	// read. Its first command is not interactive, so that the server has no
	// input itself.
	const guard = `"$@" & server=$!; read -r signal; kill -"${signal:-INT}" $server 2>/dev/null; wait $server`
	s.process = exec.Command("sh", "-c", guard, "sh", filepath.Join(s.bin, "postgres"),
		"-D", s.data(), "-k", s.dir, "-c", "listen_addresses=", "-c", "max_connections=300", "-c", "fsync=on")
	s.process.Dir, s.process.SysProcAttr = s.dir, s.account
	s.output = &bytes.Buffer{}
	s.process.Stdout, s.process.Stderr = s.output, s.output
	alive, err := s.process.StdinPipe()
	if err != nil {
		tb.Fatal(err)
	}
	s.alive = alive
	if err := s.process.Start(); err != nil {
		tb.Fatal(err)
	}
	s.awaitAnswer(tb)
}

func (s *Server) awaitAnswer(tb testing.TB) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := pgx.Connect(ctx, s.url(address{}))
		if err == nil {
			if err := conn.Close(ctx); err != nil {
				tb.Fatal(err)
			}
			return
		}
		select {
		case <-ctx.Done():
			s.Stop(tb)
			tb.Fatalf("the server does not answer: %v\n%s", err, s.output)
		case <-tick.C:
		}
	}
}

// Stop ends the server and every connection to it, as a restart does.
func (s *Server) Stop(tb testing.TB) {
	tb.Helper()
	err := s.alive.Close()
	s.alive = nil
	if err := errors.Join(err, s.process.Wait()); err != nil {
		tb.Errorf("stopping the server: %v\n%s", err, s.output)
	}
}

// Crash ends the server as a crash does: nothing is written any more, and the
// next start recovers from its log.
func (s *Server) Crash(tb testing.TB) {
	tb.Helper()
	if _, err := io.WriteString(s.alive, "QUIT\n"); err != nil {
		tb.Fatal(err)
	}
	s.Stop(tb)
}

// Schema makes an empty schema and returns a URL by which all that is done is
// done in it, so that tests on one server do not see each other.
func (s *Server) Schema(tb testing.TB) string {
	tb.Helper()
	return s.schema(tb, address{}, "")
}

// Plain is Schema in a database without extensions, for a user who may make none.
func (s *Server) Plain(tb testing.TB) string {
	tb.Helper()
	if err := s.plain(); err != nil {
		tb.Fatal(err)
	}
	return s.schema(tb, address{database: "plain"}, "plain")
}

func (s *Server) schema(tb testing.TB, at address, owner string) string {
	tb.Helper()
	at.schema = fmt.Sprintf("s%d", s.schemas.Add(1))
	statement := "CREATE SCHEMA " + at.schema
	if owner != "" {
		statement += " AUTHORIZATION " + owner
	}
	if err := s.run(tb.Context(), address{database: at.database}, statement); err != nil {
		tb.Fatal(err)
	}
	at.user = owner
	return s.url(at)
}

// Offers says whether the server has an extension that databases can be given.
func (s *Server) Offers(tb testing.TB, extension string) (offers bool) {
	tb.Helper()
	conn, err := pgx.Connect(tb.Context(), s.url(address{}))
	if err != nil {
		tb.Fatal(err)
	}
	err = conn.QueryRow(tb.Context(), "SELECT EXISTS (SELECT FROM pg_available_extensions WHERE name = $1)", extension).Scan(&offers)
	if err := errors.Join(err, conn.Close(tb.Context())); err != nil {
		tb.Fatal(err)
	}
	return offers
}

// Extend gives the database of a URL that Plain has made an extension.
func (s *Server) Extend(tb testing.TB, plain, extension string) {
	tb.Helper()
	config, err := pgx.ParseConfig(plain)
	if err != nil {
		tb.Fatal(err)
	}
	if err := s.run(tb.Context(), address{database: config.Database}, "CREATE EXTENSION "+extension); err != nil {
		tb.Fatal(err)
	}
}

// run makes statements, each for itself.
func (s *Server) run(ctx context.Context, at address, statements ...string) error {
	conn, err := pgx.Connect(ctx, s.url(at))
	if err != nil {
		return fmt.Errorf("connecting: %w", err)
	}
	for _, statement := range statements {
		if _, failed := conn.Exec(ctx, statement); failed != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", statement, failed))
		}
	}
	return errors.Join(err, conn.Close(ctx))
}

// address is what a connection is to; what is empty is the superuser's own.
type address struct{ database, user, schema string }

func (s *Server) url(to address) string {
	query := url.Values{
		"host": {s.dir}, "user": {cmp.Or(to.user, "postgres")}, "dbname": {cmp.Or(to.database, "postgres")},
	}
	if to.schema != "" {
		query.Set("search_path", to.schema)
	}
	return "postgres:///?" + query.Encode()
}

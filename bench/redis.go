package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// redis is a Redis that keeps everything in memory, and asynq before it.
type redis struct {
	address, client string
	cmd             *exec.Cmd // nil where there is no redis-server
}

// startRedis builds asynq's client and starts a Redis for it, if there is one.
func startRedis(ctx context.Context, dir string) (*redis, error) {
	server, err := exec.LookPath("redis-server")
	if err != nil {
		return &redis{}, nil //nolint:nilerr // it is not measured then
	}
	r := &redis{client: filepath.Join(dir, "asynq")}
	build := exec.CommandContext(ctx, "go", "build", "-C", filepath.Join("bench", "asynq"), "-o", r.client, ".")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return nil, fmt.Errorf("build asynq's client: %w", err)
	}
	if r.address, err = freeAddress(ctx); err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(r.address)
	if err != nil {
		return nil, err
	}
	r.cmd = exec.CommandContext(ctx, server, "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", dir)
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := r.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start redis-server: %w", err)
	}
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", r.address); err == nil {
			return r, conn.Close()
		}
	}
	r.stop()
	return nil, errors.New("redis-server does not listen")
}

// enqueue is how many tasks a second are taken; 0 without a Redis.
func (r *redis) enqueue(ctx context.Context, each time.Duration) (float64, error) {
	if r.cmd == nil {
		return 0, nil
	}
	out, err := exec.CommandContext(ctx, r.client, "-redis", r.address,
		"-callers", strconv.Itoa(submitters), "-each", each.String()).Output()
	if err != nil {
		return 0, fmt.Errorf("asynq: %w", err)
	}
	return strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
}

func (r *redis) stop() {
	if r.cmd != nil {
		_ = r.cmd.Process.Kill()
		_ = r.cmd.Wait()
	}
}

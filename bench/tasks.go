package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	agentv1 "github.com/runwire/runwire/gen/agent/v1"
	"google.golang.org/protobuf/types/known/timestamppb"
)

const (
	// submitters is how many submit at once.
	submitters = 32
	// nothings is how many tasks that do nothing are run to their end.
	nothings = 5000
	// oneByOne is how many tasks are awaited one after the other.
	oneByOne = 200
)

// tasks measures tasks on SQLite, each commit synced to the disk.
func tasks(ctx context.Context, dir string, o options) error {
	p, err := startRunwire(ctx, dir)
	if err != nil {
		return err
	}
	defer p.stop()
	fmt.Printf("\n%-34s %14s %14s %8s\n", "tasks, durable in SQLite", "", "runwire", "target")
	synced, err := syncedWrite(dir)
	if err != nil {
		return err
	}
	fmt.Printf("%-34s %14v\n", "a synced write of 4 KiB to the disk", synced.Round(10*time.Microsecond))

	mid, err := turnaround(ctx, p)
	if err != nil {
		return err
	}
	fmt.Printf("%-34s %14s %14v %8s\n", "idle, submitted to completed", "median", mid.Round(10*time.Microsecond), "3ms")

	done, err := completed(ctx, p, nothings)
	if err != nil {
		return err
	}
	fmt.Printf("%-34s %14s %12.0f/s %8s\n", "a task of 1 token, completed", "", done, "3000/s")

	redis, err := startRedis(ctx, dir)
	if err != nil {
		return err
	}
	defer redis.stop()
	var submits []figure
	var peers []float64
	for range o.rounds {
		f, err := measure(ctx, p, submitters, o.each, later)
		if err != nil {
			return err
		}
		peer, err := redis.enqueue(ctx, o.each)
		if err != nil {
			return err
		}
		submits, peers = append(submits, f), append(peers, peer)
	}
	f := middle(submits)
	fmt.Printf("%-34s %14v %12.0f/s %8s\n", "a submit, 32 callers", f.cpu, f.perSecond, "12000/s")
	slices.Sort(peers)
	if peer := peers[len(peers)/2]; peer > 0 {
		fmt.Printf("%-34s %14s %12.0f/s\n", "asynq's enqueue, Redis in memory", "", peer)
	} else {
		fmt.Printf("%-34s %14s %14s\n", "asynq's enqueue, Redis in memory", "", "no redis-server")
	}
	return nil
}

// syncedWrite is what the disk takes for the least that is durable, at the
// median: a task that is run alone has two.
func syncedWrite(dir string) (time.Duration, error) {
	file, err := os.Create(filepath.Join(dir, "synced"))
	if err != nil {
		return 0, err
	}
	defer func() { _ = file.Close() }() // what was synced is all that counts
	page := make([]byte, 4<<10)
	var took []time.Duration
	for range oneByOne {
		begin := time.Now()
		if _, err := file.WriteAt(page, 0); err != nil {
			return 0, err
		}
		if err := file.Sync(); err != nil {
			return 0, err
		}
		took = append(took, time.Since(begin))
	}
	return median(took), nil
}

// later submits a task that is not due while it is measured.
func later(ctx context.Context, client agentv1.AgentServiceClient) (int64, error) {
	_, err := client.SubmitTask(ctx, &agentv1.SubmitTaskRequest{
		Message: "Later.", UserId: "bench", Agent: "nothing", RunAfter: timestamppb.New(time.Now().Add(24 * time.Hour)),
	})
	return 1, err
}

// turnaround is how long a task takes on an idle server, from before its submit
// to its last event, at the median.
func turnaround(ctx context.Context, p *process) (time.Duration, error) {
	var took []time.Duration
	for range oneByOne {
		begin := time.Now()
		response, err := p.client(0).SubmitTask(authorized(ctx), &agentv1.SubmitTaskRequest{
			Message: "Now.", UserId: "bench", Agent: "nothing",
		})
		if err != nil {
			return 0, err
		}
		if err := await(ctx, p, response.GetTask().GetTaskId()); err != nil {
			return 0, err
		}
		took = append(took, time.Since(begin))
	}
	return median(took), nil
}

// await watches a task to its end.
func await(ctx context.Context, p *process, id string) error {
	events, err := p.client(0).WatchTask(authorized(ctx), &agentv1.WatchTaskRequest{TaskId: id})
	for err == nil {
		_, err = events.Recv()
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// completed submits many tasks and returns how many a second come to their end.
func completed(ctx context.Context, p *process, tasks int) (float64, error) {
	begin := time.Now()
	err := submit(tasks, func(i int) error {
		_, err := p.client(i).SubmitTask(authorized(ctx), &agentv1.SubmitTaskRequest{
			Message: "Now.", UserId: "now", Agent: "nothing",
		})
		return err
	})
	if err != nil {
		return 0, err
	}
	open := &agentv1.ListTasksRequest{
		UserId: "now", PageSize: 1,
		Statuses: []agentv1.TaskStatus{agentv1.TaskStatus_TASK_STATUS_QUEUED, agentv1.TaskStatus_TASK_STATUS_RUNNING},
	}
	for {
		response, err := p.client(0).ListTasks(authorized(ctx), open)
		if err != nil {
			return 0, err
		}
		if len(response.GetTasks()) == 0 {
			return float64(tasks) / time.Since(begin).Seconds(), nil
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// submit has all submitters make their share of so many calls.
func submit(tasks int, call func(submitter int) error) error {
	errs := make(chan error, submitters)
	var group sync.WaitGroup
	for i := range submitters {
		group.Go(func() {
			for range tasks / submitters {
				if err := call(i); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	group.Wait()
	close(errs)
	var all error
	for err := range errs {
		all = errors.Join(all, err)
	}
	return all
}

package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	agentv1 "github.com/runwire/runwire/gen/agent/v1"
)

const (
	// watchedTasks are how many tasks are watched at once, each a token a second.
	watchedTasks = 16
	// watchedFor is how long it is measured once all watch.
	watchedFor = 5 * time.Second
)

// watchers shows how late events reach one who watches a task, and how late when
// very many do, and what each of them costs the server in memory.
func watchers(ctx context.Context, dir string, o options) error {
	p, err := startRunwire(ctx, dir)
	if err != nil {
		return err
	}
	defer p.stop()
	ctx, cancel := context.WithCancel(authorized(ctx))
	defer cancel()
	ids := make([]string, watchedTasks)
	for i := range ids {
		response, err := p.client(i).SubmitTask(ctx, &agentv1.SubmitTaskRequest{Message: "Slowly.", UserId: "bench", Agent: "slow"})
		if err != nil {
			return err
		}
		ids[i] = response.GetTask().GetTaskId()
	}
	fmt.Printf("\n%-34s %14s %14s %14s\n", "watching tasks, a token a second", "late, median", "99 in 100", "memory each")
	for _, n := range []int{1, o.watchers} {
		before, err := p.memory()
		if err != nil {
			return err
		}
		late, used, err := watch(ctx, p, ids, n)
		if err != nil {
			return err
		}
		fmt.Printf("%-34s %14v %14v %12.1fKB\n", fmt.Sprintf("%d at once", n),
			late[len(late)/2].Round(10*time.Microsecond), late[len(late)*99/100].Round(10*time.Microsecond),
			float64(used-before)/1024/float64(n))
	}
	return nil
}

// watch has n watch the tasks, and returns how much later than they were made
// the events came, sorted, and the server's memory meanwhile.
func watch(ctx context.Context, p *process, ids []string, n int) (late []time.Duration, memory int64, err error) {
	if err := p.dial(max(0, n/500-len(p.conns))); err != nil {
		return nil, 0, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	all := make([][]time.Duration, n)
	live, errs := make(chan struct{}, n), make(chan error, n)
	measuring := make(chan struct{})
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() {
			err := follow(ctx, p.client(i), ids[i%len(ids)], live, func(late time.Duration) {
				select {
				case <-measuring:
					all[i] = append(all[i], late)
				default:
				}
			})
			if ctx.Err() == nil {
				errs <- err
			}
		})
	}
	for range n {
		select {
		case <-live:
		case err := <-errs:
			return nil, 0, err
		}
	}
	time.Sleep(watchedFor / 5) // what was told before they came is behind them
	close(measuring)
	time.Sleep(watchedFor)
	memory, err = p.memory()
	cancel()
	group.Wait()
	late = slices.Sorted(slices.Values(slices.Concat(all...)))
	if err == nil && len(late) == 0 {
		err = fmt.Errorf("no event came in %v", watchedFor)
	}
	return late, memory, err
}

// follow watches a task until that ends, and tells of each event how late it
// came; and to live, when the first has come that was not made before.
func follow(
	ctx context.Context, client agentv1.AgentServiceClient, id string, live chan<- struct{}, tell func(time.Duration),
) error {
	events, err := client.WatchTask(ctx, &agentv1.WatchTaskRequest{TaskId: id})
	opened := time.Now()
	for fresh := false; err == nil; {
		var response *agentv1.WatchTaskResponse
		if response, err = events.Recv(); err != nil {
			return err
		}
		made := response.GetEvent().GetCreateTime().AsTime()
		if !fresh && made.After(opened) {
			fresh = true
			live <- struct{}{}
		}
		tell(time.Since(made))
	}
	return err
}

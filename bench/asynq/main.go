// Command asynq enqueues tasks to a Redis for a while, from many callers at
// once, and prints how many a second were taken. It is a peer that Runwire is
// measured beside, in a module of its own: Runwire needs nothing of it.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"
)

func main() {
	address := flag.String("redis", "127.0.0.1:6379", "address of the Redis")
	callers := flag.Int("callers", 32, "how many enqueue at once")
	each := flag.Duration("each", 3*time.Second, "how long")
	flag.Parse()
	perSecond, err := enqueue(*address, *callers, *each)
	if err != nil {
		fmt.Fprintln(os.Stderr, "asynq:", err)
		os.Exit(1)
	}
	fmt.Printf("%.0f\n", perSecond)
}

func enqueue(address string, callers int, each time.Duration) (float64, error) {
	client := asynq.NewClient(asynq.RedisClientOpt{Addr: address, PoolSize: callers})
	payload := []byte(`{"message":"Later.","user_id":"bench","agent":"nothing"}`)
	var taken atomic.Int64
	errs := make(chan error, callers)
	var group sync.WaitGroup
	begin := time.Now()
	for range callers {
		group.Go(func() {
			for time.Since(begin) < each {
				if _, err := client.Enqueue(asynq.NewTask("run", payload)); err != nil {
					errs <- err
					return
				}
				taken.Add(1)
			}
		})
	}
	group.Wait()
	close(errs)
	elapsed := time.Since(begin)
	var all error
	for err := range errs {
		all = errors.Join(all, err)
	}
	return float64(taken.Load()) / elapsed.Seconds(), errors.Join(all, client.Close())
}

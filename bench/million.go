package main

import (
	"context"
	"fmt"
	"time"
)

// steps is in how many parts a million tasks are shown.
const steps = 10

// million shows whether the cost of a submit and the server's memory stay as
// they are while very many tasks are kept, and while very many are run.
func million(ctx context.Context, dir string, o options) error {
	p, err := startRunwire(ctx, dir)
	if err != nil {
		return err
	}
	defer p.stop()
	fmt.Printf("\n%-34s %14s %14s %14s\n", "tasks kept", "CPU a submit", "", "memory")
	kept := 0
	for range steps {
		f, err := keep(ctx, p, o.many/steps)
		if err != nil {
			return err
		}
		used, err := p.memory()
		if err != nil {
			return err
		}
		kept += o.many / steps
		fmt.Printf("%-34d %14v %12.0f/s %12.1fMB\n", kept, f.cpu, f.perSecond, float64(used)/(1<<20))
	}
	fmt.Printf("%-34s %14s %14s %14s\n", "tasks run to their end", "", "", "memory")
	done := 0
	for range steps {
		some := o.many / steps / steps
		perSecond, err := completed(ctx, p, some)
		if err != nil {
			return err
		}
		used, err := p.memory()
		if err != nil {
			return err
		}
		done += some
		fmt.Printf("%-34d %14s %12.0f/s %12.1fMB\n", done, "", perSecond, float64(used)/(1<<20))
	}
	return nil
}

// keep submits so many tasks that are not due.
func keep(ctx context.Context, p *process, tasks int) (figure, error) {
	before, err := p.cpu()
	if err != nil {
		return figure{}, err
	}
	begin := time.Now()
	err = submit(tasks, func(i int) error {
		_, err := later(authorized(ctx), p.client(i))
		return err
	})
	if err != nil {
		return figure{}, err
	}
	elapsed := time.Since(begin)
	after, err := p.cpu()
	return figure{perSecond: float64(tasks) / elapsed.Seconds(), cpu: (after - before) / time.Duration(tasks)}, err
}

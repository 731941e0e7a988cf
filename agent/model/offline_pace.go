package model

import (
	"context"
	"time"
)

// pace holds words back to a schedule fixed at the start, so that one late
// word delays no other. It costs a paced reply one timer and no goroutine.
type pace struct {
	ctx      context.Context
	done     <-chan struct{}
	timer    *time.Timer
	due      time.Time
	interval time.Duration
}

func newPace(ctx context.Context, opts OfflineOptions) pace {
	p := pace{ctx: ctx, done: ctx.Done(), interval: opts.TokenInterval}
	if opts.FirstTokenDelay > 0 || opts.TokenInterval > 0 {
		p.due = time.Now().Add(opts.FirstTokenDelay)
		p.timer = time.NewTimer(opts.FirstTokenDelay)
	}
	return p
}

// wait returns when the next word is due, or ctx's error as soon as it has one.
func (p *pace) wait() error {
	if p.timer == nil {
		select {
		case <-p.done:
			return p.ctx.Err()
		default:
			return nil
		}
	}
	p.timer.Reset(time.Until(p.due))
	p.due = p.due.Add(p.interval)
	select {
	case <-p.done:
		return p.ctx.Err()
	case <-p.timer.C:
		return nil
	}
}

func (p *pace) stop() {
	if p.timer != nil {
		p.timer.Stop()
	}
}

package server

import (
	"context"
	"sync"
)

// calls are those of a kind that go on, so that a drain knows when nothing is
// left to wait for, and can end what is. Calls that have not sent their request yet are
// none of them, nor are those of health and reflection, which may stay open for
// as long as a client lives.
type calls struct {
	mu     sync.Mutex
	active map[*call]struct{}
	over   error           // why calls must end; nil while they may go on
	idle   []chan struct{} // closed when nothing is active
}

// call is one of them.
type call struct {
	calls  *calls
	cancel context.CancelCauseFunc
}

func newCalls() *calls { return &calls{active: make(map[*call]struct{})} }

// enter begins a call that goes on until it leaves. Its context ends with ctx,
// and when calls must end.
func (c *calls) enter(ctx context.Context) (context.Context, *call) {
	entered := &call{calls: c}
	ctx, entered.cancel = context.WithCancelCause(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.active[entered] = struct{}{}
	if c.over != nil {
		entered.cancel(c.over)
	}
	return ctx, entered
}

func (c *call) leave() {
	c.cancel(nil)
	c.calls.mu.Lock()
	defer c.calls.mu.Unlock()
	delete(c.calls.active, c)
	c.calls.tell()
}

// end ends all calls, and those that come.
func (c *calls) end(why error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = why
	for active := range c.active {
		active.cancel(why)
	}
}

// ended is closed once no call goes on.
func (c *calls) ended() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	idle := make(chan struct{})
	c.idle = append(c.idle, idle)
	c.tell()
	return idle
}

func (c *calls) tell() {
	if len(c.active) > 0 {
		return
	}
	for _, idle := range c.idle {
		close(idle)
	}
	c.idle = nil
}

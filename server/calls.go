package server

import "sync"

// calls counts the runs that go on, so that a drain knows when nothing is left
// to wait for. Calls that have not sent their request yet do not count, nor do
// those of health and reflection, which may stay open for as long as a client
// lives.
type calls struct {
	mu     sync.Mutex
	active int
	idle   []chan struct{} // closed when active is 0
}

// enter counts a call until leave is called.
func (c *calls) enter() (leave func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.active++
	return c.leave
}

func (c *calls) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.active--
	c.tell()
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
	if c.active > 0 {
		return
	}
	for _, idle := range c.idle {
		close(idle)
	}
	c.idle = nil
}

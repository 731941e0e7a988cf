package bus

import (
	"context"
	"sync"
	"time"
)

// Puller takes one task at a time from the lanes. While all lanes have tasks,
// of each ten it takes six are HIGH, three NORMAL and one is LOW.
type Puller struct {
	bus    *Bus
	taken  int
	inlets [laneCount]*inlet // whose pull waits, or Next; nil before the first pull

	mu      sync.Mutex
	waiting bool            // Next takes what comes
	asked   [laneCount]bool // a pull waits in the server
	come    chan *Delivery  // for Next
	pulls   sync.WaitGroup
	closed  chan struct{}
}

// NewPuller returns a puller for one goroutine.
func (b *Bus) NewPuller() *Puller {
	return &Puller{bus: b, come: make(chan *Delivery, 1), closed: make(chan struct{})}
}

// turns says which lane is looked at first, in turn.
var turns = [...]int{
	laneHigh, laneNormal, laneHigh, laneHigh, laneNormal, laneHigh, laneLow, laneHigh, laneNormal, laneHigh,
}

const (
	// longPull is how long a pull waits in the server.
	longPull = 2 * time.Second
	// pause is between tries while NATS is away.
	pause = 200 * time.Millisecond
)

// Errand is work for a worker that does not come by a lane.
type Errand func(context.Context)

// Next waits for a task, whose delivery the caller answers, or for an errand;
// one of the two is nil. Errands are taken only while the lanes have nothing. Its
// only error is ctx's.
func (p *Puller) Next(ctx context.Context, errands <-chan Errand) (*Delivery, Errand, error) {
	if d := p.first(ctx); d != nil {
		p.taken++
		return d, nil, nil
	}
	p.mu.Lock()
	p.waiting = true
	p.mu.Unlock()
	for lane := range p.asked {
		p.ask(ctx, lane)
	}
	select {
	case d := <-p.come:
		p.taken++
		return d, nil, nil
	case errand := <-errands:
		p.refuse()
		return nil, errand, nil
	case <-ctx.Done():
		p.refuse()
		return nil, nil, ctx.Err()
	}
}

// first takes what is there, in the order of this turn. A lane in which a pull
// of ours waits has nothing; one that turns out to have nothing is left to such
// a pull, so that it is not asked each time.
func (p *Puller) first(ctx context.Context) *Delivery {
	turn := turns[p.taken%len(turns)]
	for i, lane := range [...]int{turn, laneHigh, laneNormal, laneLow} {
		p.mu.Lock()
		empty := p.asked[lane]
		p.mu.Unlock()
		if empty || i > 0 && lane == turn {
			continue
		}
		d, err := p.pull(ctx, lane, 0)
		if d != nil {
			return d
		}
		if err == nil {
			p.ask(ctx, lane)
		}
	}
	return nil
}

// pull makes a pull in a lane in which none waits.
func (p *Puller) pull(ctx context.Context, lane int, wait time.Duration) (_ *Delivery, err error) {
	if p.inlets[lane] == nil {
		if p.inlets[lane], err = p.bus.lanes[lane].openInlet(); err != nil {
			return nil, err
		}
	}
	return p.inlets[lane].pull(ctx, wait)
}

// ask has a pull wait in the lane's server for as long as Next waits.
func (p *Puller) ask(ctx context.Context, lane int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.asked[lane] {
		return
	}
	p.asked[lane] = true
	p.pulls.Go(func() {
		for p.wait(ctx, lane) {
		}
	})
}

// wait makes one pull and says whether to make another. What comes when Next
// does not wait is given back at once: nothing is kept for later.
func (p *Puller) wait(ctx context.Context, lane int) bool {
	reconnection := p.bus.reconnection()
	asking, cancel := context.WithCancel(context.WithoutCancel(ctx)) // the server would send to nobody
	stop := make(chan struct{})
	go func() {
		defer cancel()
		select {
		case <-reconnection: // the server has forgotten the pull
		case <-p.closed:
		case <-stop:
		}
	}()
	d, err := p.pull(asking, lane, longPull)
	close(stop)
	if err != nil {
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-p.closed:
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case d != nil && p.waiting:
		p.waiting = false
		p.come <- d
	case d != nil:
		d.Return(0)
	case p.waiting:
		return true
	}
	p.asked[lane] = false
	return false
}

// refuse takes nothing any more.
func (p *Puller) refuse() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting = false
	select {
	case d := <-p.come:
		d.Return(0)
	default:
	}
}

// Close takes back the pulls that are with the server; what they have brought is
// given to others. Next must not be called any more, and Close once.
func (p *Puller) Close() {
	close(p.closed)
	p.pulls.Wait()
	for _, in := range p.inlets {
		if in != nil {
			in.close()
		}
	}
}

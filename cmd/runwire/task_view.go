package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	agentv1 "github.com/runwire/runwire/gen/agent/v1"
)

// taskView shows a task that is watched: its run, what happens beside it, and
// on a terminal a foot.
type taskView struct {
	run view
	err io.Writer

	mu      sync.Mutex // guards the outputs while the foot is redrawn
	screen  *screen    // nil when a program reads
	foot    *foot      // nil where there is no terminal for it, and at the end
	done    chan struct{}
	redraws sync.WaitGroup
}

// newTaskView shows on term until close. Where the answer goes into a file or a
// pipe, a step's words are said once the step is done.
func newTaskView(term terminal, asJSON bool, task *agentv1.Task) *taskView {
	v := &taskView{err: term.err, done: make(chan struct{})}
	if asJSON {
		v.run = &lines{out: term.out}
		return v
	}
	v.screen = newScreen(term)
	v.screen.settled = !v.screen.answer.clean
	v.run = v.screen
	if v.screen.aside.clean && os.Getenv("TERM") != "dumb" {
		v.startFoot(newFoot(term.err, v.screen.aside.dim, task))
	}
	return v
}

func (v *taskView) startFoot(f *foot) {
	v.foot = f
	v.redraw()
	v.redraws.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				v.mu.Lock()
				v.redraw()
				v.mu.Unlock()
			case <-v.done:
				return
			}
		}
	})
}

// redraw draws the foot, unless the terminal is within a line of something else.
func (v *taskView) redraw() {
	if v.foot == nil || v.screen.aside.inLine || v.screen.answer.clean && v.screen.answer.inLine {
		return
	}
	v.foot.draw(time.Now())
}

// above does something while the foot is not there.
func (v *taskView) above(do func() error) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.foot != nil {
		v.foot.clear()
	}
	err := do()
	v.redraw()
	return err
}

// show implements view.
func (v *taskView) show(event *agentv1.RunEvent) error {
	return v.above(func() error {
		switch {
		case v.foot == nil:
		case ownEnd(event) != nil:
			v.foot = nil
		default:
			v.foot.learn(event)
		}
		return v.run.show(event)
	})
}

// tell says a sentence beside the run.
func (v *taskView) tell(sentence string) {
	_ = v.above(func() error {
		if v.screen != nil {
			v.screen.endLines()
		}
		fmt.Fprintf(v.err, "runwire: %s\n", oneLine(sentence))
		return nil
	})
}

// stands says how the task stands, where no event does.
func (v *taskView) stands(status string) {
	_ = v.above(func() error {
		if v.foot != nil {
			v.foot.status = status
		}
		return nil
	})
}

// close implements view.
func (v *taskView) close() {
	close(v.done)
	v.redraws.Wait()
	if v.foot != nil {
		v.foot.clear()
	}
	v.run.close()
}

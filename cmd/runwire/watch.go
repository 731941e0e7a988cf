package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	agentv1 "github.com/runwire/runwire/gen/agent/v1"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// How a watcher comes back to a server that was gone.
const (
	firstPause   = 250 * time.Millisecond
	longestPause = 5 * time.Second
	longestRetry = time.Minute // however long a server asks for
	tryTimeout   = 10 * time.Second
)

// watcher follows a task to its end, over as many streams as that takes.
type watcher struct {
	client agentv1.AgentServiceClient
	show   *taskView
	// task is the task as it was last seen.
	task *agentv1.Task
	// last is the sequence of the last event that was shown.
	last int64
	// patience is how long a server may be gone.
	patience time.Duration

	pause time.Duration // before the next try
	lost  bool          // it was told that the stream is
}

// watch shows the task's events and returns how its run has ended. That events
// are missing is an error.
func (w *watcher) watch(ctx context.Context) (*agentv1.RunResult, error) {
	for {
		ended := hasEnded(w.task)
		result, err := w.follow(ctx)
		switch {
		case err == nil:
			return result, nil
		case errors.Is(err, io.EOF) && (ended || w.isOver(ctx)):
			return w.withoutEnd()
		case ctx.Err() != nil || !comesBack(err):
			return nil, err
		}
		if err := w.comeBack(ctx, err); err != nil {
			return nil, err
		}
	}
}

// follow reads one stream. One that ends without a result is io.EOF.
func (w *watcher) follow(ctx context.Context) (*agentv1.RunResult, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	events, err := w.client.WatchTask(ctx, &agentv1.WatchTaskRequest{
		TaskId: w.task.GetTaskId(), AfterSequence: w.last,
	})
	if err != nil {
		return nil, err
	}
	for {
		response, err := events.Recv()
		if err != nil {
			return nil, err
		}
		event := response.GetEvent()
		if event.GetSequence() != w.last+1+event.GetMerged() {
			return nil, fmt.Errorf("event %d, merged %d, came after event %d: the stream is not whole",
				event.GetSequence(), event.GetMerged(), w.last)
		}
		w.last, w.lost, w.pause = event.GetSequence(), false, 0
		if err := w.show.show(event); err != nil {
			return nil, fmt.Errorf("show the task: %w", err)
		}
		if finished := ownEnd(event); finished != nil {
			return finished.GetResult(), nil
		}
	}
}

// comeBack returns once the server answers again.
func (w *watcher) comeBack(ctx context.Context, broke error) error {
	if !w.lost {
		w.lost = true
		w.show.tell(fmt.Sprintf("the stream broke off (%s); going on after event %d", why(broke), w.last))
	}
	w.show.stands("reconnecting")
	for until := time.Now().Add(w.patience); ; {
		if err := w.wait(ctx, broke); err != nil {
			return err
		}
		task, err := getTask(ctx, w.client, w.task.GetTaskId())
		if err == nil {
			w.task = task
			w.show.stands(taskStatus(task))
			return nil
		}
		if ctx.Err() != nil || !comesBack(err) {
			return err
		}
		if time.Now().After(until) {
			return fmt.Errorf("the server has been gone for %v: %w", w.patience, err)
		}
		broke = err
	}
}

// wait lets time pass before the next try: twice as long each time, and no
// shorter than the server has asked for.
func (w *watcher) wait(ctx context.Context, broke error) error {
	w.pause = min(max(2*w.pause, firstPause), longestPause)
	pause := w.pause + rand.N(w.pause/4)
	for _, detail := range status.Convert(broke).Details() {
		if retry, ok := detail.(*errdetails.RetryInfo); ok {
			pause = max(pause, min(retry.GetRetryDelay().AsDuration(), longestRetry))
		}
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// isOver looks whether the task has ended with no event after the last.
func (w *watcher) isOver(ctx context.Context) bool {
	task, err := getTask(ctx, w.client, w.task.GetTaskId())
	if err != nil {
		return false // comeBack asks again
	}
	w.task = task
	return hasEnded(task) && w.last >= task.GetLastSequence()
}

// withoutEnd is the result of a task that has ended before the events that were
// asked for. That any other task's events have no end is an error.
func (w *watcher) withoutEnd() (*agentv1.RunResult, error) {
	how := fmt.Sprintf("the task has ended (%s): ", taskStatus(w.task))
	if result := w.task.GetResult(); result != nil && w.last >= w.task.GetLastSequence() {
		w.show.tell(fmt.Sprintf("%sthere are no events after %d", how, w.last))
		return result, nil
	}
	return nil, errors.New(how + oneLine(cmp.Or(w.task.GetError(), "there is no last event")))
}

// comesBack says whether a stream that broke off so may go on later: the
// connection broke, or somebody between here and the server cut it.
func comesBack(err error) bool {
	if errors.Is(err, io.EOF) {
		return true
	}
	told, isStatus := status.FromError(err)
	if !isStatus {
		return false
	}
	switch told.Code() {
	case codes.Unavailable, codes.Aborted, codes.Canceled, codes.DeadlineExceeded:
		return true
	case codes.Internal, codes.Unknown:
		return len(told.Details()) == 0 // a server says more of its own faults
	default:
		return false
	}
}

// why is an error in a few words.
func why(err error) string {
	if told, isStatus := status.FromError(err); isStatus {
		return describe(told)
	}
	return "it ended early"
}

func getTask(ctx context.Context, client agentv1.AgentServiceClient, id string) (*agentv1.Task, error) {
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	response, err := client.GetTask(ctx, &agentv1.GetTaskRequest{TaskId: id})
	return response.GetTask(), err
}

package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	agentv1 "github.com/runwire/runwire/gen/agent/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"
)

type taskCommands struct {
	Submit  submitCommand     `cmd:"" help:"Submit a task and print its id."`
	Get     getTaskCommand    `cmd:"" help:"Show a task as it stands."`
	Watch   watchCommand      `cmd:"" help:"Follow a task to its end. Ctrl-C leaves the task running."`
	List    listTasksCommand  `cmd:"" help:"List tasks, newest first."`
	Approve approveCommand    `cmd:"" help:"Have a tool call made that waits for approval."`
	Reject  rejectCommand     `cmd:"" help:"Refuse a tool call that waits for approval; the task goes on without it."`
	Cancel  cancelTaskCommand `cmd:"" help:"Ask a task to end."`
}

// work is what a task is to do.
type work struct {
	Message string `arg:"" help:"What to say; '-' reads it from standard input."`

	Agent      string            `help:"Who shall answer." placeholder:"NAME"`
	User       string            `help:"On whose behalf." default:"${user}"`
	Session    string            `help:"The conversation to go on with. Its tasks run one after the other." placeholder:"ID"`
	Priority   string            `help:"Which tasks go first: ${enum}." enum:"low,normal,high" default:"normal"`
	Timeout    time.Duration     `help:"How long a try may take before it is told to stop; 0 is the server's 5m."`
	Label      map[string]string `help:"What 'task list' can look for; may be repeated." mapsep:"none" placeholder:"NAME=VALUE"`
	WebhookURL string            `name:"webhook-url" help:"Told when the task has ended." placeholder:"URL"`
	MaxTokens  int64             `help:"Lowers the agent's budget of tokens; 0 leaves it."`
	MaxCostUSD float64           `name:"max-cost-usd" help:"Lowers the agent's budget of US dollars; 0 leaves it."`
}

func (w *work) request(in io.Reader) (*agentv1.SubmitTaskRequest, error) {
	message, err := readMessage(w.Message, in)
	if err != nil {
		return nil, err
	}
	request := &agentv1.SubmitTaskRequest{
		Message:    message,
		UserId:     w.User,
		SessionId:  w.Session,
		Agent:      w.Agent,
		MaxTokens:  w.MaxTokens,
		MaxCostUsd: w.MaxCostUSD,
		Priority:   agentv1.TaskPriority(agentv1.TaskPriority_value["TASK_PRIORITY_"+strings.ToUpper(w.Priority)]),
		WebhookUrl: w.WebhookURL,
		Labels:     w.Label,
	}
	if w.Timeout != 0 {
		request.Timeout = durationpb.New(w.Timeout)
	}
	return request, nil
}

type submitCommand struct {
	Work work `embed:""`

	RunAfter       moment `help:"When it may start: a duration such as 10m, or, the same when it is submitted again, a time such as 2026-03-01T08:30:00Z." placeholder:"WHEN"`
	IdempotencyKey string `help:"Makes it safe to submit again: the same key with the same request is one task." placeholder:"KEY"`
	Watch          bool   `help:"Follow the task to its end."`
	JSON           bool   `name:"json" help:"Print the task, and its events with --watch, a JSON object a line."`

	Following following `embed:""`
	Remote    remote    `embed:""`
}

// Run submits and prints the id. Its exit code is 0 once the task is submitted;
// with --watch, only for a whole answer.
func (c *submitCommand) Run(ctx context.Context, term terminal) error {
	request, err := c.Work.request(term.in)
	if err != nil {
		return err
	}
	request.RunAfter = c.RunAfter.after(time.Now())
	request.IdempotencyKey = c.IdempotencyKey
	return c.Remote.ask(ctx, term, func(conn grpc.ClientConnInterface) error {
		client := agentv1.NewAgentServiceClient(conn)
		response, err := client.SubmitTask(ctx, request)
		if err != nil {
			return err
		}
		task := response.GetTask()
		switch {
		case c.JSON:
			err = writeLine(term.out, task)
		case c.Watch: // standard output is the answer's
			_, err = fmt.Fprintf(term.err, "task %s\n", oneLine(task.GetTaskId()))
		default:
			_, err = fmt.Fprintln(term.out, oneLine(task.GetTaskId()))
		}
		if err != nil || !c.Watch {
			return err
		}
		return c.Following.follow(ctx, term, client, c.JSON, &watcher{task: task})
	})
}

// following is how a task is watched.
type following struct {
	ReconnectFor time.Duration `help:"How long to try again when the server has gone." default:"10m"`
}

// follow shows the task to its end. A task without success is
// exitError(exitFailed), being interrupted exitError(exitInterrupted).
func (f *following) follow(ctx context.Context, term terminal, client agentv1.AgentServiceClient, asJSON bool, w *watcher) error {
	w.client, w.patience = client, f.ReconnectFor
	w.show = newTaskView(term, asJSON, w.task)
	result, err := w.watch(ctx)
	w.show.close()
	switch {
	case err == nil && result.GetSuccess():
		return nil
	case err == nil:
		return exitError(exitFailed)
	case ctx.Err() != nil:
		fmt.Fprintf(term.err, "runwire: no longer watching; the task goes on, and `runwire task cancel %s` ends it\n",
			oneLine(w.task.GetTaskId()))
		return exitError(exitInterrupted)
	default:
		return err
	}
}

// taskID names a task.
type taskID struct {
	ID string `arg:"" name:"id" help:"The task's id."`
}

type watchCommand struct {
	Task taskID `embed:""`

	AfterSequence int64 `help:"Leave out the events up to this one."`
	JSON          bool  `name:"json" help:"Print the task's events as they come, a JSON object a line."`

	Following following `embed:""`
	Remote    remote    `embed:""`
}

// Run follows the task. Its exit code is 0 only for a whole answer.
func (c *watchCommand) Run(ctx context.Context, term terminal) error {
	return c.Remote.ask(ctx, term, func(conn grpc.ClientConnInterface) error {
		client := agentv1.NewAgentServiceClient(conn)
		task, err := getTask(ctx, client, c.Task.ID)
		if err != nil {
			return err
		}
		return c.Following.follow(ctx, term, client, c.JSON, &watcher{task: task, last: c.AfterSequence})
	})
}

type getTaskCommand struct {
	Task taskID `embed:""`

	JSON bool `name:"json" help:"Print the task as a JSON object."`

	Remote remote `embed:""`
}

// Run shows the task, whatever came of it.
func (c *getTaskCommand) Run(ctx context.Context, term terminal) error {
	return c.Remote.ask(ctx, term, func(conn grpc.ClientConnInterface) error {
		task, err := getTask(ctx, agentv1.NewAgentServiceClient(conn), c.Task.ID)
		if err != nil {
			return err
		}
		if c.JSON {
			return writeLine(term.out, task)
		}
		return showTask(term.out, task)
	})
}

type cancelTaskCommand struct {
	Task taskID `embed:""`

	JSON bool `name:"json" help:"Print the task as a JSON object."`

	Remote remote `embed:""`
}

// Run asks the task to end, and says what that comes to.
func (c *cancelTaskCommand) Run(ctx context.Context, term terminal) error {
	return c.Remote.ask(ctx, term, func(conn grpc.ClientConnInterface) error {
		response, err := agentv1.NewAgentServiceClient(conn).CancelTask(ctx, &agentv1.CancelTaskRequest{TaskId: c.Task.ID})
		if err != nil {
			return err
		}
		task := response.GetTask()
		if c.JSON {
			return writeLine(term.out, task)
		}
		said := "has ended: " + taskStatus(task)
		if !hasEnded(task) {
			said = "is being cancelled"
		}
		_, err = fmt.Fprintf(term.out, "task %s %s\n", oneLine(task.GetTaskId()), said)
		return err
	})
}

type listTasksCommand struct {
	User    string            `help:"Only this user's." placeholder:"ID"`
	Session string            `help:"Only those of this conversation." placeholder:"ID"`
	Status  []string          `help:"Only those in these statuses: ${enum}." enum:"queued,running,waiting_approval,completed,failed,cancelled" placeholder:"STATUS"`
	Label   map[string]string `help:"Only those with this label; may be repeated." mapsep:"none" placeholder:"NAME=VALUE"`
	Limit   uint32            `help:"How many at most; 0 is all." default:"50"`
	JSON    bool              `name:"json" help:"Print the tasks, a JSON object a line."`

	Remote remote `embed:""`
}

// Run lists the tasks.
func (c *listTasksCommand) Run(ctx context.Context, term terminal) error {
	request := &agentv1.ListTasksRequest{UserId: c.User, SessionId: c.Session, Labels: c.Label}
	for _, status := range c.Status {
		request.Statuses = append(request.Statuses, agentv1.TaskStatus(agentv1.TaskStatus_value["TASK_STATUS_"+strings.ToUpper(status)]))
	}
	rows := newRows(term.out, c.JSON, []string{"ID", "STATUS", "AGENT", "USER", "AGE", "MESSAGE"}, func(t *agentv1.Task) []string {
		return []string{
			t.GetTaskId(), describeStatus(t), t.GetAgent(), t.GetUserId(), age(time.Now(), t.GetCreateTime()),
			firstWords(t.GetMessage()),
		}
	})
	return c.Remote.ask(ctx, term, func(conn grpc.ClientConnInterface) error {
		client := agentv1.NewAgentServiceClient(conn)
		return rows.pages(c.Limit, func(size int32, token string) ([]*agentv1.Task, string, error) {
			request.PageSize, request.PageToken = size, token
			response, err := client.ListTasks(ctx, request)
			return response.GetTasks(), response.GetNextPageToken(), err
		})
	})
}

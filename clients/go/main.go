// Command go is a client of Runwire in Go.
//
//	go run ./clients/go ADDRESS list|run|stream|task [MESSAGE [USER]]
//
// RUNWIRE_API_KEY is the key, DEADLINE the seconds a call may take (60). It
// knows nothing of the server but its contract.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	agentv1 "github.com/runwire/runwire/gen/agent/v1"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Stdout, os.Args[1:])
	stop()
	if err != nil {
		printError(os.Stdout, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, args []string) error {
	if len(args) < 2 {
		return errors.New("usage: ADDRESS list|run|stream|task [MESSAGE [USER]]")
	}
	address, command := args[0], args[1]
	args = append(args, "", "go")
	message, user := args[2], args[3]

	conn, err := connect(address)
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // the process ends here
	client := agentv1.NewAgentServiceClient(conn)
	if command == "task" {
		return task(ctx, out, client, &agentv1.SubmitTaskRequest{Message: message, UserId: user})
	}
	ctx, cancel := callContext(ctx)
	defer cancel()
	switch command {
	case "list":
		return list(ctx, out, client)
	case "run":
		return ask(ctx, out, client, &agentv1.RunRequest{Message: message, UserId: user})
	case "stream":
		return stream(ctx, out, client, &agentv1.StreamRunRequest{Message: message, UserId: user})
	default:
		return fmt.Errorf("no command %s", command)
	}
}

func connect(address string) (*grpc.ClientConn, error) {
	conn, err := grpc.NewClient(address,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}),
	)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", address, err)
	}
	return conn, nil
}

// callContext carries the key and the deadline.
func callContext(ctx context.Context) (context.Context, context.CancelFunc) {
	if key := os.Getenv("RUNWIRE_API_KEY"); key != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "x-api-key", key)
	}
	seconds, err := strconv.ParseFloat(os.Getenv("DEADLINE"), 64)
	if err != nil {
		seconds = 60
	}
	return context.WithTimeout(ctx, time.Duration(seconds*float64(time.Second)))
}

func list(ctx context.Context, out io.Writer, client agentv1.AgentServiceClient) error {
	response, err := client.ListAgents(ctx, &agentv1.ListAgentsRequest{})
	if err != nil {
		return fmt.Errorf("list the agents: %w", err)
	}
	for _, a := range response.GetAgents() {
		fmt.Fprintln(out, a.GetName(), a.GetModel(), strings.Join(a.GetTools(), ","))
	}
	return nil
}

func ask(ctx context.Context, out io.Writer, client agentv1.AgentServiceClient, request *agentv1.RunRequest) error {
	response, err := client.Run(ctx, request)
	if err != nil {
		return fmt.Errorf("run the agent: %w", err)
	}
	fmt.Fprintln(out, response.GetResult().GetContent())
	printResult(out, response.GetResult())
	return nil
}

// stream runs an agent and prints its answer as it is spoken. It is an error
// when an event is missing.
func stream(ctx context.Context, out io.Writer, client agentv1.AgentServiceClient, request *agentv1.StreamRunRequest) error {
	events, err := client.StreamRun(ctx, request)
	if err != nil {
		return fmt.Errorf("run the agent: %w", err)
	}
	var sequence int64
	for {
		response, err := events.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the stream: %w", err)
		}
		event := response.GetEvent()
		if event.GetSequence() != sequence+1+event.GetMerged() {
			return fmt.Errorf("event %d (merged %d) after %d", event.GetSequence(), event.GetMerged(), sequence)
		}
		sequence = event.GetSequence()
		show(out, event)
	}
}

func show(out io.Writer, event *agentv1.RunEvent) {
	if event.GetToolCallId() != "" {
		return // an agent says it that was asked as a tool
	}
	switch e := event.GetEvent().(type) {
	case *agentv1.RunEvent_TextDelta:
		fmt.Fprint(out, e.TextDelta.GetText())
	case *agentv1.RunEvent_Retrying: // what the step had said is void
		fmt.Fprint(out, "\n[retrying]\n")
	case *agentv1.RunEvent_Finished:
		fmt.Fprintln(out)
		printResult(out, e.Finished.GetResult())
	}
}

// task submits a task and prints its answer as it is spoken, over as many calls
// as that takes.
func task(ctx context.Context, out io.Writer, client agentv1.AgentServiceClient, request *agentv1.SubmitTaskRequest) error {
	call, cancel := callContext(ctx)
	submitted, err := client.SubmitTask(call, request)
	cancel()
	if err != nil {
		return fmt.Errorf("submit the task: %w", err)
	}
	watched := &agentv1.WatchTaskRequest{TaskId: submitted.GetTask().GetTaskId()}
	for {
		ended, err := watch(ctx, out, client, watched)
		if ended || err != nil && !comesBack(err) {
			return err
		}
		select { // the server may be on its way back
		case <-time.After(500 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("watch the task: %w", ctx.Err())
		}
	}
}

// watch prints what comes after the last event that request has, and keeps it
// up to date. It says whether the task has ended.
func watch(ctx context.Context, out io.Writer, client agentv1.AgentServiceClient, request *agentv1.WatchTaskRequest) (ended bool, err error) {
	ctx, cancel := callContext(ctx)
	defer cancel()
	events, err := client.WatchTask(ctx, request)
	if err != nil {
		return false, fmt.Errorf("watch the task: %w", err)
	}
	for {
		response, err := events.Recv()
		if errors.Is(err, io.EOF) {
			return ended, nil
		}
		if err != nil {
			return ended, fmt.Errorf("watch the task: %w", err)
		}
		event := response.GetEvent()
		if event.GetSequence() != request.GetAfterSequence()+1+event.GetMerged() {
			return false, fmt.Errorf("event %d (merged %d) after %d", event.GetSequence(), event.GetMerged(), request.GetAfterSequence())
		}
		request.AfterSequence = event.GetSequence()
		show(out, event)
		ended = event.GetFinished() != nil && event.GetToolCallId() == ""
	}
}

// comesBack says whether a stream that broke off so is worth another call.
func comesBack(err error) bool {
	switch s := status.Convert(errors.Unwrap(err)); s.Code() {
	case codes.Unavailable, codes.Aborted, codes.Canceled, codes.DeadlineExceeded:
		return true
	case codes.Internal: // a proxy that cut the stream says no more
		return len(s.Details()) == 0
	default:
		return false
	}
}

func printResult(out io.Writer, result *agentv1.RunResult) {
	fmt.Fprintf(out, "%s tools=%s tokens=%d\n",
		result.GetStopReason(), strings.Join(result.GetToolCallsMade(), ","), result.GetUsage().GetTotalTokens())
}

func printError(out io.Writer, err error) {
	s, ok := status.FromError(err)
	if !ok {
		fmt.Fprintln(out, "error", err)
		return
	}
	fmt.Fprintln(out, "error", code.Code(s.Proto().GetCode()))
	for _, detail := range s.Details() {
		switch d := detail.(type) {
		case *errdetails.BadRequest:
			for _, violation := range d.GetFieldViolations() {
				fmt.Fprintln(out, "field", violation.GetField())
			}
		case *errdetails.RetryInfo:
			fmt.Fprintf(out, "retry after %.0fs\n", math.Ceil(d.GetRetryDelay().AsDuration().Seconds()))
		case *errdetails.ErrorInfo:
			fmt.Fprintln(out, "reason", d.GetReason())
		}
	}
}

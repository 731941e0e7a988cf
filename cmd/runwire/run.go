package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	agentv1 "github.com/runwire/runwire/gen/agent/v1"
	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// maxMessage is how many bytes of standard input are read: more than a message
// may have, so that the server refuses what is too long, not a pipe.
const maxMessage = 64 << 10

// runCommand asks an agent.
type runCommand struct {
	Message string `arg:"" help:"What to say; '-' reads it from standard input."`

	Agent      string  `help:"Who shall answer." placeholder:"NAME"`
	User       string  `help:"On whose behalf." default:"${user}"`
	Session    string  `help:"The conversation to go on with." placeholder:"ID"`
	MaxTokens  int64   `help:"Lowers the agent's budget of tokens; 0 leaves it."`
	MaxCostUSD float64 `name:"max-cost-usd" help:"Lowers the agent's budget of US dollars; 0 leaves it."`
	JSON       bool    `name:"json" help:"Print the run's events as they come, a JSON object a line."`

	Connection connection `embed:""`
}

// Run streams the answer. Its exit code is 0 only for a whole answer.
func (c *runCommand) Run(ctx context.Context, term terminal) error {
	message, err := readMessage(c.Message, term.in)
	if err != nil {
		return err
	}
	conn, hangUp, err := c.Connection.open(ctx, term)
	if err != nil {
		return err
	}
	var show view = newScreen(term)
	if c.JSON {
		show = &lines{out: term.out}
	}
	err = stream(ctx, conn, show, &agentv1.StreamRunRequest{
		Message:    message,
		UserId:     c.User,
		SessionId:  c.Session,
		Agent:      c.Agent,
		MaxTokens:  c.MaxTokens,
		MaxCostUsd: c.MaxCostUSD,
	})
	return errors.Join(outcome(ctx, term, err), hangUp())
}

// readMessage is what the command line says; for `-`, what standard input does.
func readMessage(message string, in io.Reader) (string, error) {
	if message != "-" {
		return message, nil
	}
	text, err := io.ReadAll(io.LimitReader(in, maxMessage))
	if err != nil {
		return "", fmt.Errorf("read the message: %w", err)
	}
	if len(text) == maxMessage {
		text = wholeCharacters(text)
	}
	if !utf8.Valid(text) { // gRPC would call that a fault of its own
		return "", mistake{errors.New("runwire: message: is not UTF-8")}
	}
	return strings.TrimSpace(string(text)), nil
}

// wholeCharacters is text without the part of a character that a limit has left
// at its end.
func wholeCharacters(text []byte) []byte {
	for range utf8.UTFMax - 1 {
		if r, size := utf8.DecodeLastRune(text); r == utf8.RuneError && size == 1 {
			text = text[:len(text)-1]
		}
	}
	return text
}

// view shows a run.
type view interface {
	// show is given every event in order; its error ends the run.
	show(event *agentv1.RunEvent) error
	// close is called after the last event, however the run ended.
	close()
}

// stream runs the request and shows what happens. A run that did not come to
// its end, and has said why, is exitError(exitFailed).
func stream(ctx context.Context, conn grpc.ClientConnInterface, show view, request *agentv1.StreamRunRequest) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer show.close()
	events, err := agentv1.NewAgentServiceClient(conn).StreamRun(ctx, request)
	if err != nil {
		return err
	}
	var result *agentv1.RunResult
	for {
		response, err := events.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if finished := ownEnd(response.GetEvent()); finished != nil {
			result = finished.GetResult()
		}
		if err := show.show(response.GetEvent()); err != nil {
			return fmt.Errorf("show the run: %w", err)
		}
	}
	if !result.GetSuccess() {
		return exitError(exitFailed)
	}
	return nil
}

// ownEnd is the end of the run that an event tells of; nil if it tells of
// something else, and of the end of an agent that was asked as a tool.
func ownEnd(event *agentv1.RunEvent) *agentv1.RunFinished {
	if event.GetToolCallId() != "" {
		return nil
	}
	return event.GetFinished()
}

// outcome tells how a call failed, unless that was told, and makes an exit code of it.
func outcome(ctx context.Context, term terminal, err error) error {
	told, isStatus := status.FromError(err)
	switch {
	case err == nil, errors.As(err, new(exitError)):
		return err
	case ctx.Err() != nil:
		fmt.Fprintln(term.err, "runwire: cancelled")
		return exitError(exitInterrupted)
	case !isStatus:
		return err
	}
	// A server's words reach a terminal like a model's do.
	fmt.Fprintf(term.err, "runwire: %s\n", oneLine(describe(told)))
	if told.Code() == codes.InvalidArgument {
		return exitError(exitMistake)
	}
	return exitError(exitFailed)
}

// describe puts a status into a sentence.
func describe(s *status.Status) string {
	name := code.Code(int32(s.Code())).String() //nolint:gosec // there are 17 codes.
	var text strings.Builder
	text.WriteString(strings.ToLower(strings.ReplaceAll(name, "_", " ")) + ": " + s.Message())
	for _, detail := range s.Details() {
		switch detail := detail.(type) {
		case *errdetails.RetryInfo:
			if strings.Contains(s.Message(), "retry in ") { // a refusal by a limit says it
				continue
			}
			fmt.Fprintf(&text, "; retry in %v", detail.GetRetryDelay().AsDuration())
		case *errdetails.ResourceInfo:
			fmt.Fprintf(&text, " %q", detail.GetResourceName())
		case *errdetails.ErrorInfo:
			if id := detail.GetMetadata()["run_id"]; id != "" {
				fmt.Fprintf(&text, " (run %s)", id)
			}
		}
	}
	return text.String()
}

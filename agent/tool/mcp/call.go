package mcp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/runwire/runwire/agent/tool"
)

// callKeyField is where a call's metadata has its tool.CallKey, for servers
// that would know a call again.
const callKeyField = "runwire/call-key"

// caller makes what calls a tool of the server, on whichever session there is.
// Its errors are for models: they show nothing of this side.
func (s *Server) caller(name string) tool.Func {
	return func(ctx context.Context, arguments json.RawMessage) (string, error) {
		const tries = 2
		for range tries {
			x := s.line.wait(ctx)
			if x == nil {
				break
			}
			output, err := x.call(ctx, name, arguments)
			if !errors.Is(err, errUnsent) || ctx.Err() != nil {
				return output, err
			}
			// A session that broke unnoticed: the next one can take the call.
			s.line.lost(x)
			x.breakUp()
		}
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		return "", s.notConnected()
	}
}

// errUnsent says that a call failed before the server has taken it.
var errUnsent = errors.New("the call was not taken")

// receipt is what the wire knows of a call, whose context has it.
type receipt struct {
	// refused: the server has forgotten the session, so it did nothing.
	refused atomic.Bool
}

type receiptKey struct{}

// rejectedByTransport is the SDK's code for one failed request, such as one
// that a gateway has answered, of a session that goes on.
const rejectedByTransport = -32005

func (x *session) call(ctx context.Context, name string, arguments json.RawMessage) (string, error) {
	x.calls.Add(1)
	defer x.calls.Add(-1)
	bounded, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(x.ctx, func() { cancel(errEnded) }) //nolint:contextcheck // the call ends with the session too
	defer stop()

	slip := &receipt{}
	bounded = context.WithValue(bounded, receiptKey{}, slip)
	params := &mcp.CallToolParams{Name: name, Arguments: arguments}
	if key := tool.CallKey(ctx); key != "" {
		params.Meta = mcp.Meta{callKeyField: key}
	}
	result, err := x.client.CallTool(bounded, params)
	switch {
	case err == nil:
		return answer(result)
	case errors.Is(err, mcp.ErrConnectionClosed), slip.refused.Load(): // not that of another call
		return "", fmt.Errorf("%w: %w", errUnsent, err)
	default:
		return "", x.failed(ctx, name, err)
	}
}

// failed is a call's failure in words for a model.
func (x *session) failed(ctx context.Context, name string, err error) error {
	refusal := (*jsonrpc.Error)(nil)
	switch {
	case ctx.Err() != nil:
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			signal(x.doubted)
		}
		return context.Cause(ctx)
	case errors.As(err, &refusal) && refusal.Code != rejectedByTransport:
		return fmt.Errorf("the server refused the call: %s", refusal.Message)
	case refusal == nil: // not just one request that failed
		x.server.line.lost(x)
		signal(x.doubted)
	}
	x.server.log.WarnContext(ctx, "mcp call failed", slog.String("tool", name), slog.Any("error", err))
	return fmt.Errorf("the server %q gave no usable answer; whether the call was carried out is not known", x.server.cfg.Name)
}

// answer is what a model is told of a result: its texts, a line each, and what
// else there is by name; where there is no text, its structured content.
func answer(result *mcp.CallToolResult) (string, error) {
	parts := make([]string, 0, len(result.Content))
	spoken := false
	for _, content := range result.Content {
		text, isText := shown(content)
		spoken = spoken || isText
		parts = append(parts, text)
	}
	if !spoken && result.StructuredContent != nil {
		data, err := json.Marshal(result.StructuredContent)
		if err != nil {
			return "", fmt.Errorf("reading the structured content: %w", err)
		}
		parts = append(parts, string(data))
	}
	text := strings.Join(parts, "\n")
	switch {
	case !result.IsError:
		return text, nil
	case strings.TrimSpace(text) == "":
		return "", errors.New("the tool failed and did not say why")
	default:
		return "", errors.New(text)
	}
}

// shown is a part of an answer in words, and whether it is text.
func shown(content mcp.Content) (text string, isText bool) {
	switch c := content.(type) {
	case *mcp.TextContent:
		return c.Text, true
	case *mcp.ImageContent:
		return fmt.Sprintf("[an image, %s, %d bytes]", c.MIMEType, len(c.Data)), false
	case *mcp.AudioContent:
		return fmt.Sprintf("[audio, %s, %d bytes]", c.MIMEType, len(c.Data)), false
	case *mcp.ResourceLink:
		return fmt.Sprintf("[a link to %s: %s]", c.Name, c.URI), false
	case *mcp.EmbeddedResource:
		switch resource := c.Resource; {
		case resource == nil:
			return "[an empty resource]", false
		case resource.Text != "":
			return fmt.Sprintf("[the resource %s]\n%s", resource.URI, resource.Text), true
		default:
			return fmt.Sprintf("[the resource %s, %s, %d bytes]", resource.URI, resource.MIMEType, len(resource.Blob)), false
		}
	default:
		return "[content of another kind]", false
	}
}

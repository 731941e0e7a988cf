package mcp

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path"
	"slices"
	"strings"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/runwire/runwire/agent/tool"
)

const (
	// maxSchema is how long a tool's schema may be, in bytes: each call of a
	// model pays for it.
	maxSchema = 64 << 10
	// maxDescription is how much of a description is kept, in bytes.
	maxDescription = 8 << 10
)

// offered makes tools of those that the server lists. One that cannot be had is
// left out, and the log says why.
func (s *Server) offered(ctx context.Context, listed []*mcp.Tool) []*tool.Tool {
	if len(listed) > maxTools {
		s.log.WarnContext(ctx, "mcp server lists too many tools; the others are left out", slog.Int("most", maxTools))
		listed = listed[:maxTools]
	}
	tools := make([]*tool.Tool, 0, len(listed))
	seen := make(map[string]bool, len(listed))
	for _, remote := range listed {
		t, err := s.offer(remote)
		if err == nil && seen[remote.Name] {
			err = fmt.Errorf("tool %q is listed twice", remote.Name)
		}
		if err != nil {
			s.log.WarnContext(ctx, "mcp tool is left out", slog.Any("error", err))
			continue
		}
		seen[remote.Name] = true
		tools = append(tools, t)
	}
	slices.SortFunc(tools, func(a, b *tool.Tool) int {
		return strings.Compare(a.Definition().Name, b.Definition().Name)
	})
	return tools
}

func (s *Server) offer(remote *mcp.Tool) (*tool.Tool, error) {
	if remote.Name == "" {
		return nil, errors.New("a tool has no name")
	}
	parameters, err := json.Marshal(remote.InputSchema)
	if err != nil {
		return nil, fmt.Errorf("tool %q: writing its schema: %w", remote.Name, err)
	}
	if remote.InputSchema == nil {
		parameters = json.RawMessage(`{"type":"object"}`)
	}
	if len(parameters) > maxSchema {
		return nil, fmt.Errorf("tool %q: its schema has %d bytes, at most %d are allowed", remote.Name, len(parameters), maxSchema)
	}
	rule := s.rule(remote)
	return tool.New(tool.Definition{
		Name:             s.cfg.Name + "." + remote.Name,
		Description:      head(cmp.Or(remote.Description, remote.Title), maxDescription),
		Parameters:       parameters,
		Timeout:          cmp.Or(rule.Timeout, s.cfg.Timeout),
		Effect:           rule.Effect,
		RequiresApproval: rule.RequiresApproval,
	}, s.caller(remote.Name))
}

// rule is what is known of a tool: what the first rule that matches says, and
// its own annotations where that says nothing of its effect.
func (s *Server) rule(remote *mcp.Tool) Rule {
	var rule Rule
	for _, r := range s.cfg.Rules {
		if matched, err := path.Match(r.Pattern, remote.Name); err == nil && matched {
			rule = r
			break
		}
	}
	if rule.Effect == "" {
		rule.Effect = hinted(remote.Annotations)
	}
	return rule
}

func hinted(hints *mcp.ToolAnnotations) tool.Effect {
	switch {
	case hints == nil:
		return tool.Once
	case hints.ReadOnlyHint:
		return tool.Pure
	case hints.IdempotentHint:
		return tool.Idempotent
	default:
		return tool.Once
	}
}

// head is the beginning of s, at most limit bytes of it.
func head(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit], "") + "…"
}

package mcp

import (
	"context"
	"path"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/runwire/runwire/agent/tool"
)

// Select returns those tools of servers whose whole names (`server.tool`) match
// a pattern, as they come and go. `*` stands for any characters. It makes a new
// slice only when a server's tools have changed.
func Select(patterns []string, servers ...*Server) tool.Source {
	return &selection{patterns: slices.Clone(patterns), servers: slices.Clone(servers)}
}

type selection struct {
	patterns []string
	servers  []*Server
	last     atomic.Pointer[chosen]
}

// chosen is a choice and what it was made from.
type chosen struct {
	from  []*[]*tool.Tool // by server
	tools []*tool.Tool
}

// Tools are the tools of this moment, sorted by name.
func (s *selection) Tools() []*tool.Tool {
	if last := s.last.Load(); last != nil && s.fresh(last) {
		return last.tools
	}
	next := &chosen{from: make([]*[]*tool.Tool, len(s.servers))}
	for i, server := range s.servers {
		next.from[i] = server.tools.Load()
		for _, t := range *next.from[i] {
			if s.matches(t.Definition().Name) {
				next.tools = append(next.tools, t)
			}
		}
	}
	slices.SortFunc(next.tools, func(a, b *tool.Tool) int {
		return strings.Compare(a.Definition().Name, b.Definition().Name)
	})
	s.last.Store(next)
	return next.tools
}

// Find is the tool of that name, if it is among these and its server has it.
func (s *selection) Find(ctx context.Context, name string) (*tool.Tool, error) {
	for _, server := range s.servers {
		if strings.HasPrefix(name, server.cfg.Name+".") && s.matches(name) {
			return server.Find(ctx, name)
		}
	}
	return nil, nil //nolint:nilnil // one of others
}

func (s *selection) fresh(last *chosen) bool {
	for i, server := range s.servers {
		if server.tools.Load() != last.from[i] {
			return false
		}
	}
	return true
}

func (s *selection) matches(name string) bool {
	return slices.ContainsFunc(s.patterns, func(pattern string) bool {
		matched, err := path.Match(pattern, name)
		return err == nil && matched
	})
}

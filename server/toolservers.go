package server

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/runwire/runwire/agent/tool"
	"github.com/runwire/runwire/agent/tool/mcp"
	"github.com/runwire/runwire/config"
	"github.com/runwire/runwire/telemetry"
)

// toolServers are the MCP servers of a configuration, which this process stays
// connected to.
type toolServers struct {
	servers []*mcp.Server
	running background
}

// startToolServers connects to the servers of cfg, and does not wait for that.
func startToolServers(ctx context.Context, cfg Config) (*toolServers, error) {
	t := &toolServers{}
	log := cfg.Log.With(slog.String("logger", "runwire.tools"))
	for _, s := range cfg.File.MCPServers {
		server, err := mcp.New(mcp.Config{
			Name:           s.Name,
			Command:        s.Command,
			Env:            plain(s.Env),
			URL:            s.URL,
			Headers:        plain(s.Headers),
			Rules:          toolRules(s.Tools),
			Timeout:        s.Timeout,
			ConnectTimeout: s.ConnectTimeout,
			Version:        telemetry.Version(),
			Log:            log,
		})
		if err != nil {
			return nil, fmt.Errorf("mcp_servers: %w", err)
		}
		t.servers = append(t.servers, server)
		t.running.add(server.Run)
	}
	t.running.start(ctx)
	return t, nil
}

// chosen are the tools of those names and globs; none for none.
func (t *toolServers) chosen(patterns []string) []tool.Source {
	if len(patterns) == 0 {
		return nil
	}
	return []tool.Source{mcp.Select(patterns, t.servers...)}
}

// settle returns when every server has been tried once, or the limit is over.
func (t *toolServers) settle(ctx context.Context, limit time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for _, server := range t.servers {
		select {
		case <-server.Settled():
		case <-ctx.Done():
			return
		}
	}
}

// stop ends the servers' programs. A nil one has none.
func (t *toolServers) stop() error {
	if t == nil {
		return nil
	}
	return t.running.stop()
}

func toolRules(said []config.ToolRule) []mcp.Rule {
	rules := make([]mcp.Rule, len(said))
	for i, rule := range said {
		rules[i] = mcp.Rule{
			Pattern:          rule.Pattern,
			Effect:           tool.Effect(rule.Effect),
			RequiresApproval: rule.RequiresApproval,
			Timeout:          rule.Timeout,
		}
	}
	return rules
}

// plain are secrets as whoever needs them has them.
func plain(secrets map[string]config.Secret) map[string]string {
	texts := make(map[string]string, len(secrets))
	for name, secret := range secrets {
		texts[name] = string(secret)
	}
	return texts
}

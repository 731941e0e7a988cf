package server

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/runwire/runwire/agent/tool"
	"github.com/runwire/runwire/config"
)

func TestToolServers(t *testing.T) {
	t.Parallel()
	server := sdk.NewServer(&sdk.Implementation{Name: "site"}, nil)
	for _, name := range []string{"read", "write"} {
		sdk.AddTool(server, &sdk.Tool{Name: name}, func(context.Context, *sdk.CallToolRequest, struct{}) (*sdk.CallToolResult, any, error) {
			return &sdk.CallToolResult{Content: []sdk.Content{&sdk.TextContent{Text: "done"}}}, nil, nil
		})
	}
	handler := sdk.NewStreamableHTTPHandler(func(*http.Request) *sdk.Server { return server }, nil)
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Key") != "s3cret" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		handler.ServeHTTP(w, r)
	}))
	defer site.Close()
	servers, err := startToolServers(t.Context(), Config{
		Log: slog.New(slog.DiscardHandler),
		File: &config.File{MCPServers: []config.MCPServer{
			{Name: "down", Command: []string{"/no/such/program"}},
			{
				Name: "site", URL: site.URL, Headers: map[string]config.Secret{"x-key": "s3cret"},
				Tools: []config.ToolRule{{Pattern: "read", Effect: "pure", RequiresApproval: true, Timeout: time.Second}},
			},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	servers.settle(t.Context(), time.Minute)
	if sources := servers.chosen(nil); sources != nil {
		t.Errorf("an agent without tools has %v", sources)
	}
	tools := servers.chosen([]string{"*.read"})[0].Tools()
	if len(tools) != 1 {
		t.Fatalf("there are %d tools", len(tools))
	}
	got := tools[0].Definition()
	if got.Name != "site.read" || got.Effect != tool.Pure || !got.RequiresApproval || got.Timeout != time.Second {
		t.Errorf("it is %+v", got)
	}
	if output, err := tools[0].Call(t.Context(), "{}"); err != nil || output != "done" {
		t.Errorf("it says %q, %v", output, err)
	}
	if err := servers.stop(); err != nil {
		t.Error(err)
	}
}

func TestToolServersOfNone(t *testing.T) {
	t.Parallel()
	servers, err := startToolServers(t.Context(), Config{Log: slog.New(slog.DiscardHandler), File: &config.File{}})
	if err != nil {
		t.Fatal(err)
	}
	servers.settle(t.Context(), time.Minute)
	if err := servers.stop(); err != nil {
		t.Error(err)
	}
	if err := (*toolServers)(nil).stop(); err != nil {
		t.Error(err)
	}
}

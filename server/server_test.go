package server

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/runwire/runwire/config"
	agentv1 "github.com/runwire/runwire/gen/agent/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
)

func TestServerServes(t *testing.T) {
	t.Parallel()
	f := serve(t, nil)
	conn := f.dial(t)

	for _, service := range []string{"", "agent.v1.AgentService"} {
		health, err := grpc_health_v1.NewHealthClient(conn).Check(t.Context(),
			&grpc_health_v1.HealthCheckRequest{Service: service})
		if err != nil || health.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
			t.Errorf("health of %q is %v, %v", service, health, err)
		}
	}
	client := agentv1.NewAgentServiceClient(conn)
	response, err := client.Run(t.Context(), &agentv1.RunRequest{Message: "What is 2+2?", UserId: "alice"})
	if err != nil || !strings.Contains(response.GetResult().GetContent(), "4") {
		t.Errorf("Run answered %v, %v", response, err)
	}
	stream, err := client.StreamRun(t.Context(), &agentv1.StreamRunRequest{Message: "What is 2+3?", UserId: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	if result, err := rest(stream); err != nil || !strings.Contains(result.GetContent(), "5") {
		t.Errorf("StreamRun ended with %v, %v", result, err)
	}
	agents, err := client.ListAgents(t.Context(), &agentv1.ListAgentsRequest{})
	if err != nil || len(agents.GetAgents()) != 1 || agents.GetAgents()[0].GetModel() != "offline" {
		t.Errorf("ListAgents answered %v, %v", agents, err)
	}

	mustGet(t, f, "/healthz", 200, "ok\n")
	mustGet(t, f, "/readyz", 200, "ok\n")
	mustGet(t, f, "/metrics", 200, "agent_run_latency_ms")
	mustGet(t, f, "/", 404, "not found")
	for _, attr := range []string{`"grpc":"` + f.Addr().String(), `"http":"` + f.HTTPAddr().String(), `"logger":"runwire.server"`} {
		if f.log.count(attr) == 0 {
			t.Errorf("the log does not say %s", attr)
		}
	}
}

func TestReflectionListsTheServices(t *testing.T) {
	t.Parallel()
	stream, err := reflectionv1.NewServerReflectionClient(serve(t, nil).dial(t)).ServerReflectionInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&reflectionv1.ServerReflectionRequest{
		MessageRequest: &reflectionv1.ServerReflectionRequest_ListServices{},
	}); err != nil {
		t.Fatal(err)
	}
	response, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range response.GetListServicesResponse().GetService() {
		names = append(names, s.GetName())
	}
	want := "agent.v1.AgentService agent.v1.MemoryService agent.v1.ScheduleService agent.v1.SessionService agent.v1.UsageService grpc.health.v1.Health grpc.reflection.v1.ServerReflection grpc.reflection.v1alpha.ServerReflection"
	if got := strings.Join(names, " "); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestServerWithoutHTTP(t *testing.T) {
	t.Parallel()
	f := serve(t, func(c *Config) { c.HTTPListen = "" })
	if f.HTTPAddr() != nil {
		t.Errorf("HTTP is served on %v", f.HTTPAddr())
	}
	f.mustAnswer(t)
}

func TestKeysAreAskedFor(t *testing.T) {
	t.Parallel()
	f := serve(t, func(c *Config) {
		c.Listen = "0.0.0.0:0" // with a key, any address will do
		c.APIKey = "rw_secret"
	})
	client := agentv1.NewAgentServiceClient(f.dial(t))
	_, err := client.ListAgents(t.Context(), &agentv1.ListAgentsRequest{})
	if status.Code(err) != codes.Unauthenticated {
		t.Errorf("without a key: %v", err)
	}
	ctx := metadata.AppendToOutgoingContext(t.Context(), "x-api-key", "rw_secret")
	if _, err := client.ListAgents(ctx, &agentv1.ListAgentsRequest{}); err != nil {
		t.Errorf("with the key: %v", err)
	}
}

func TestFlagsLimitUsersUnlessTheFileDoes(t *testing.T) {
	t.Parallel()
	two := 2
	for name, tc := range map[string]struct {
		file config.UserLimits
		want int
	}{
		"by the flags":                       {want: 1},
		"by the file":                        {file: config.UserLimits{Requests: &two}, want: 2},
		"by the flags, beside a concurrency": {file: config.UserLimits{ConcurrentRuns: 9}, want: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := agentv1.NewAgentServiceClient(serve(t, func(c *Config) {
				c.RateLimit = 1
				c.File.Limits.PerUser = tc.file
			}).dial(t))
			var err error
			begun := -1
			for ; err == nil; begun++ {
				_, err = client.Run(t.Context(), &agentv1.RunRequest{Message: "Hello?", UserId: "alice"})
			}
			if status.Code(err) != codes.ResourceExhausted || begun != tc.want {
				t.Errorf("%d runs, then %v; want %d", begun, err, tc.want)
			}
		})
	}
}

func TestAPortThatIsTakenIsAnErrorAndLeavesNothingOpen(t *testing.T) {
	t.Parallel()
	f := serve(t, nil)
	taken := testConfig(t)
	taken.Listen, taken.HTTPListen = "127.0.0.1:0", f.HTTPAddr().String()
	if _, err := New(t.Context(), taken); err == nil || !strings.Contains(err.Error(), "for HTTP") {
		t.Errorf("a taken HTTP port: %v", err)
	}
	taken.Listen = f.Addr().String()
	if _, err := New(t.Context(), taken); err == nil || !strings.Contains(err.Error(), taken.Listen) {
		t.Errorf("a taken gRPC port: %v", err)
	}
}

func TestRunOnlyClosesWhenItsContextHasEnded(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	cfg.Listen, cfg.HTTPListen = "127.0.0.1:0", "127.0.0.1:0"
	s, err := New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if err := s.Run(ended); err != nil {
		t.Errorf("Run: %v", err)
	}
	if conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", s.Addr().String()); err == nil {
		t.Errorf("the port is still open: %v", conn.Close())
	}
}

func TestRunFailsWhenAPortBreaks(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	cfg.Listen, cfg.HTTPListen = "127.0.0.1:0", "127.0.0.1:0"
	s, err := New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.httpListener.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Run(t.Context()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Run: %v", err)
	}
}

func TestLocalServerAnswersWithoutKeysOrLimits(t *testing.T) {
	t.Parallel()
	one := 1
	configured := file(offlineAgent("default", config.OfflineOptions{}))
	configured.Keys = []config.Key{{Name: "chat", Tenant: "acme", Scopes: []config.Scope{config.ScopeRun}}}
	configured.Limits.PerUser.Requests = &one
	local, err := StartLocal(t.Context(), configured, DefaultConfig().Log)
	if err != nil {
		t.Fatal(err)
	}
	client := agentv1.NewAgentServiceClient(local.Conn())
	for range 3 {
		if _, err := client.Run(t.Context(), &agentv1.RunRequest{Message: "Hello?", UserId: "alice"}); err != nil {
			t.Errorf("Run: %v", err)
		}
	}
	if err := local.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// mustGet fails the test unless the HTTP port answers path with a code and a
// text that begins with, or for a long page has in it, what is wanted.
func mustGet(t *testing.T, f *fixture, path string, code int, text string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+f.HTTPAddr().String()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Close = true
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != code || !strings.Contains(string(body), text) {
		t.Errorf("GET %s: %d %.100q, %v; want %d %q", path, response.StatusCode, body, err, code, text)
	}
}

package server

import (
	"errors"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/runwire/runwire/config"
	agentv1 "github.com/runwire/runwire/gen/agent/v1"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
)

func TestDrainLetsARunningStreamFinish(t *testing.T) {
	t.Parallel()
	held := newHeldModel(t)
	f := serve(t, func(c *Config) { c.File = held.file })
	stream := speaking(t, f.dial(t))

	f.stop()
	f.log.wait(t, `"draining"`)
	held.release()
	result, err := rest(stream)
	if err != nil || !result.GetSuccess() || result.GetContent() != "Hello, Alice." {
		t.Errorf("the running stream ended with %v, %v", result, err)
	}
	if err := f.wait(); err != nil {
		t.Errorf("Run: %v", err)
	}
	if f.log.count("drain timeout is over") != 0 {
		t.Error("the drain went on after the last call")
	}
}

// A client learns of a drain a moment after it has begun. What it sends until
// then is served like the rest, or refused so that it can be sent elsewhere;
// nothing that was begun is cut off while there is time.
func TestDrainCutsNothingOffThatItHasTimeFor(t *testing.T) {
	t.Parallel()
	for range 5 {
		f := serve(t, func(c *Config) {
			c.File = file(offlineAgent("default", config.OfflineOptions{Tokens: 3, TokenInterval: time.Millisecond}))
		})
		var calling sync.WaitGroup
		for range 4 {
			client := agentv1.NewAgentServiceClient(f.dial(t))
			calling.Go(func() {
				for {
					response, err := client.Run(t.Context(), &agentv1.RunRequest{Message: "Hello?", UserId: "alice"})
					if err != nil {
						return
					}
					if !response.GetResult().GetSuccess() {
						t.Errorf("cut off: %v", response)
					}
				}
			})
		}
		f.log.wait(t, `"rpc"`)
		f.stop()
		calling.Wait()
		if err := f.wait(); err != nil {
			t.Error(err)
		}
		if n := f.log.count(`"run_id"`) - f.log.count(`"code":"OK"`); n != 0 {
			t.Errorf("%d runs were begun and not finished", n)
		}
	}
}

func TestDrainEndsWhatOutlastsIt(t *testing.T) {
	t.Parallel()
	held := newHeldModel(t)
	f := serve(t, func(c *Config) {
		c.File = held.file
		c.DrainTimeout = 50 * time.Millisecond
	})
	conn := f.dial(t)
	stream := speaking(t, conn)
	unary := make(chan error, 1)
	go func() {
		_, err := agentv1.NewAgentServiceClient(conn).Run(t.Context(), &agentv1.RunRequest{Message: "Hello?", UserId: "bob"})
		unary <- err
	}()
	<-held.asked
	<-held.asked

	f.stop()
	result, err := rest(stream)
	mustBeShuttingDown(t, err)
	if result.GetStopReason() != agentv1.StopReason_STOP_REASON_CANCELLED || result.GetContent() != "Hello" {
		t.Errorf("the ended run had said %v", result)
	}
	mustBeShuttingDown(t, <-unary)
	if err := f.wait(); err != nil {
		t.Errorf("Run: %v", err)
	}
}

func TestDrainRefusesNewCalls(t *testing.T) {
	t.Parallel()
	held := newHeldModel(t)
	f := serve(t, func(c *Config) { c.File = held.file })
	old := f.dial(t)
	stream := speaking(t, old)
	f.stop()
	f.log.wait(t, `"draining"`)

	for name, conn := range map[string]*grpc.ClientConn{"the connection that was there": old, "a new connection": f.dial(t)} {
		client := agentv1.NewAgentServiceClient(conn)
		// The order to go away may still be on its way to the client, so the
		// old server may take one more call; it says no later than this.
		_, err := client.ListAgents(t.Context(), &agentv1.ListAgentsRequest{})
		for err == nil {
			_, err = client.ListAgents(t.Context(), &agentv1.ListAgentsRequest{})
		}
		mustBeShuttingDown(t, err)
		streaming, err := client.StreamRun(t.Context(), &agentv1.StreamRunRequest{Message: "Hello?", UserId: "bob"})
		if err == nil {
			_, err = streaming.Recv()
		}
		mustBeShuttingDown(t, err)
		for _, service := range []string{"", "agent.v1.AgentService"} {
			health, err := grpc_health_v1.NewHealthClient(conn).Check(t.Context(),
				&grpc_health_v1.HealthCheckRequest{Service: service})
			if err != nil || health.GetStatus() != grpc_health_v1.HealthCheckResponse_NOT_SERVING {
				t.Errorf("%s: health of %q is %v, %v", name, service, health, err)
			}
		}
	}
	mustGet(t, f, "/healthz", 200, "ok\n")
	mustGet(t, f, "/readyz", 503, "not serving\n")

	held.release()
	if result, err := rest(stream); err != nil || !result.GetSuccess() {
		t.Errorf("the running stream ended with %v, %v", result, err)
	}
}

func TestDrainIsNotHeldUpByWatchersOfHealthOrReflection(t *testing.T) {
	t.Parallel()
	f := serve(t, func(c *Config) { c.DrainTimeout = time.Hour })
	conn := f.dial(t)
	watch, err := grpc_health_v1.NewHealthClient(conn).Watch(t.Context(), &grpc_health_v1.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	mustSee(t, watch, grpc_health_v1.HealthCheckResponse_SERVING)
	reflection, err := reflectionv1.NewServerReflectionClient(conn).ServerReflectionInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := reflection.Send(&reflectionv1.ServerReflectionRequest{
		MessageRequest: &reflectionv1.ServerReflectionRequest_ListServices{},
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := reflection.Recv(); err != nil {
		t.Fatal(err)
	}

	f.stop()
	mustSee(t, watch, grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	if err := f.wait(); err != nil {
		t.Errorf("Run: %v", err)
	}
}

// rest reads a stream to its end and returns its result, if one came.
func rest(stream grpc.ServerStreamingClient[agentv1.StreamRunResponse]) (*agentv1.RunResult, error) {
	var result *agentv1.RunResult
	for {
		response, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return result, nil
		}
		if err != nil {
			return result, err
		}
		if finished := response.GetEvent().GetFinished(); finished != nil {
			result = finished.GetResult()
		}
	}
}

func mustSee(t *testing.T, watch grpc_health_v1.Health_WatchClient, want grpc_health_v1.HealthCheckResponse_ServingStatus) {
	t.Helper()
	got, err := watch.Recv()
	if err != nil || got.GetStatus() != want {
		t.Errorf("health is %v, %v; want %v", got, err, want)
	}
}

func mustBeShuttingDown(t *testing.T, err error) {
	t.Helper()
	s := status.Convert(err)
	if s.Code() != codes.Unavailable || s.Message() != "the server is shutting down" {
		t.Errorf("got %v, want UNAVAILABLE: the server is shutting down", err)
	}
	for _, detail := range s.Details() {
		if retry, ok := detail.(*errdetails.RetryInfo); ok && retry.GetRetryDelay().AsDuration() == retryShuttingDown {
			return
		}
	}
	t.Errorf("%v says nothing of when to come back: %v", err, s.Details())
}

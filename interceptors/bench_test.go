package interceptors

import (
	"context"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	otelprometheus "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"google.golang.org/grpc"

	agentv1 "github.com/runwire/runwire/gen/agent/v1"
)

// tokens is how many responses a benchmark's stream has.
const tokens = 256

// speaker answers at once, and streams tokens as fast as they are taken.
type speaker struct {
	agentv1.UnimplementedAgentServiceServer
}

func (speaker) Run(context.Context, *agentv1.RunRequest) (*agentv1.RunResponse, error) {
	return &agentv1.RunResponse{}, nil
}

func (speaker) StreamRun(_ *agentv1.StreamRunRequest, stream grpc.ServerStreamingServer[agentv1.StreamRunResponse]) error {
	response := &agentv1.StreamRunResponse{Event: &agentv1.RunEvent{
		Event: &agentv1.RunEvent_TextDelta{TextDelta: &agentv1.TextDelta{Text: "token"}},
	}}
	for range tokens {
		if err := stream.Send(response); err != nil {
			return err
		}
	}
	return nil
}

// benchmarkOptions is the whole chain as a server has it, each limit set and none reached.
func benchmarkOptions(b *testing.B) []grpc.ServerOption {
	b.Helper()
	exporter, err := otelprometheus.New(otelprometheus.WithRegisterer(prometheus.NewRegistry()))
	if err != nil {
		b.Fatal(err)
	}
	options, err := ServerOptions(Config{
		Log:            slog.New(slog.NewJSONHandler(io.Discard, nil)), //nolint:sloglint // a line's making counts.
		TracerProvider: sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.NeverSample()))),
		MeterProvider:  metric.NewMeterProvider(metric.WithReader(exporter)),
		Keys:           testKeys(),
		Limiter: NewWindowLimiter(Limits{
			PerUser:        Window{Requests: 1_000_000, Length: time.Second},
			Service:        Window{Requests: 1_000_000, Length: time.Second},
			ConcurrentRuns: 100,
		}),
	})
	if err != nil {
		b.Fatal(err)
	}
	return options
}

// BenchmarkUnary is a call through the chain, and without it.
func BenchmarkUnary(b *testing.B) {
	benchmark(b, func(ctx context.Context, client agentv1.AgentServiceClient) error {
		_, err := client.Run(ctx, &agentv1.RunRequest{Message: "hello", UserId: "alice"})
		return err
	})
}

// BenchmarkStream is a stream of 256 tokens through the chain, and without it.
func BenchmarkStream(b *testing.B) {
	benchmark(b, func(ctx context.Context, client agentv1.AgentServiceClient) error {
		stream, err := client.StreamRun(ctx, &agentv1.StreamRunRequest{Message: "hello", UserId: "alice"})
		for err == nil {
			_, err = stream.Recv()
		}
		if err != io.EOF { //nolint:errorlint // Recv returns it bare.
			return err
		}
		return nil
	})
}

func benchmark(b *testing.B, call func(context.Context, agentv1.AgentServiceClient) error) {
	b.Helper()
	for _, name := range []string{"bare", "chain"} {
		b.Run(name, func(b *testing.B) {
			var options []grpc.ServerOption
			if name == "chain" {
				options = benchmarkOptions(b)
			}
			client := agentv1.NewAgentServiceClient(serveWith(b, speaker{}, options))
			ctx := withHeader(b.Context(), "x-api-key", runKey)
			b.ReportAllocs()
			for b.Loop() {
				if err := call(ctx, client); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkServerOptions is what the chain adds to a server's start.
func BenchmarkServerOptions(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ServerOptions(Config{}); err != nil {
			b.Fatal(err)
		}
	}
}

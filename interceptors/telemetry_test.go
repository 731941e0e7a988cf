package interceptors

import (
	"context"
	"slices"
	"testing"

	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// A call is a span in its caller's trace, which the handler's work is under;
// what is answered without a key, and what does not exist, is none.
func TestSpans(t *testing.T) {
	t.Parallel()
	for kind, call := range callers() {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			spans := tracetest.NewSpanRecorder()
			provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
			var within trace.SpanContext
			conn := serve(t, Config{TracerProvider: provider}, agents{run: func(ctx context.Context, _ string) error {
				within = trace.SpanContextFromContext(ctx)
				return nil
			}})
			if _, err := healthpb.NewHealthClient(conn).Check(t.Context(), &healthpb.HealthCheckRequest{}); err != nil {
				t.Fatal(err)
			}
			invokeUnknown(t, conn)
			ctx := withHeader(t.Context(), "traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
			if err := call(ctx, conn, request(t, "hello", "alice")); err != nil {
				t.Fatal(err)
			}

			if ended := spans.Ended(); len(ended) != 1 || len(spans.Started()) != 1 {
				t.Fatalf("%d spans began and %d ended, want 1", len(spans.Started()), len(ended))
			}
			span := spans.Ended()[0]
			if got := span.Parent().TraceID().String(); got != "0af7651916cd43dd8448eb211c80319c" {
				t.Errorf("span is in the trace %s, want the caller's", got)
			}
			if !within.Equal(span.SpanContext()) {
				t.Errorf("handler runs in the span %v, want %v", within, span.SpanContext())
			}
			if len(span.Events()) != 0 || span.SpanKind() != trace.SpanKindServer {
				t.Errorf("span is a %v with events %v, want a server's without", span.SpanKind(), span.Events())
			}
		})
	}
}

// A call's duration is recorded by method and code; a caller cannot invent a method.
func TestDuration(t *testing.T) {
	t.Parallel()
	reader := metric.NewManualReader()
	conn := serve(t, Config{
		MeterProvider: metric.NewMeterProvider(metric.WithReader(reader)), Keys: testKeys(),
	}, agents{run: behaviour})
	for _, call := range callers() {
		if err := call(withHeader(t.Context(), "x-api-key", runKey), conn, request(t, "hello", "alice")); err != nil {
			t.Fatal(err)
		}
		if err := call(t.Context(), conn, request(t, "hello", "alice")); status.Code(err) != codes.Unauthenticated {
			t.Fatal(err)
		}
	}
	invokeUnknown(t, conn)

	var collected metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &collected); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"agent.v1.AgentService/Run OK", "agent.v1.AgentService/Run UNAUTHENTICATED",
		"agent.v1.AgentService/StreamRun OK", "agent.v1.AgentService/StreamRun UNAUTHENTICATED",
	}
	if got := durations(t, collected); !slices.Equal(got, want) {
		t.Errorf("durations are of %q, want %q", got, want)
	}
}

// A code that gRPC does not have is told as UNKNOWN, and no other.
func TestEveryCodeHasItsLabels(t *testing.T) {
	t.Parallel()
	m := newRPCMethod("agent.v1.AgentService/Run")
	for number, want := range map[codes.Code]string{
		codes.OK: "OK", codes.Canceled: "CANCELLED", codes.Unauthenticated: "UNAUTHENTICATED", 17: "UNKNOWN", 1 << 31: "UNKNOWN",
	} {
		if got := m.end(number).status.Value.AsString(); got != want {
			t.Errorf("code %d is told as %s, want %s", number, got, want)
		}
	}
}

// durations lists what rpc.server.call.duration was recorded for.
func durations(t *testing.T, collected metricdata.ResourceMetrics) []string {
	t.Helper()
	var of []string
	for _, scope := range collected.ScopeMetrics {
		for _, m := range scope.Metrics {
			histogram, ok := m.Data.(metricdata.Histogram[float64])
			if m.Name != "rpc.server.call.duration" || !ok {
				t.Errorf("there is a metric %s of %T", m.Name, m.Data)
			}
			for _, point := range histogram.DataPoints {
				method, _ := point.Attributes.Value("rpc.method")
				code, _ := point.Attributes.Value("rpc.response.status_code")
				of = append(of, method.AsString()+" "+code.AsString())
			}
		}
	}
	slices.Sort(of)
	return of
}

package telemetry

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	common "go.opentelemetry.io/proto/otlp/common/v1"
)

// The tests that set the process's environment cannot run in parallel.

func open(t *testing.T, opts Options) *Telemetry {
	t.Helper()
	tel, err := Setup(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	return tel
}

// use records what a run might.
func use(ctx context.Context, t *testing.T, tel *Telemetry) {
	t.Helper()
	meter := tel.MeterProvider.Meter("test")
	latency, err := meter.Float64Histogram("agent.run.latency_ms", metric.WithUnit("ms"),
		metric.WithExplicitBucketBoundaries(5, 600000))
	if err != nil {
		t.Fatal(err)
	}
	latency.Record(ctx, 12, metric.WithAttributes(attribute.String("agent", "default")))
	_, span := tel.TracerProvider.Tracer("test").Start(ctx, "invoke_agent default")
	span.End()
}

func scrape(t *testing.T, tel *Telemetry) string {
	t.Helper()
	w := httptest.NewRecorder()
	tel.MetricsHandler.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("GET /metrics: %d: %s", w.Code, w.Body)
	}
	return w.Body.String()
}

func TestOTLPCarriesSpansAndMetricsToACollector(t *testing.T) {
	for _, protocol := range []string{"grpc", "http/protobuf"} {
		t.Run(protocol, func(t *testing.T) {
			var received collector
			endpoint := received.serveHTTP
			if protocol == "grpc" {
				endpoint = received.serveGRPC
			}
			t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint(t))
			t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
			t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
			tel := open(t, Options{Version: "v1.2.3"})
			use(t.Context(), t, tel)
			if err := tel.Shutdown(t.Context()); err != nil {
				t.Fatal(err)
			}

			if len(received.spans) != 1 || len(received.metrics) != 1 {
				t.Fatalf("%d batches of spans and %d of metrics, want 1 and 1", len(received.spans), len(received.metrics))
			}
			span := received.spans[0].GetScopeSpans()[0].GetSpans()[0]
			if got, want := span.GetName(), "invoke_agent default"; got != want {
				t.Errorf("span %q, want %q", got, want)
			}
			got := received.metrics[0].GetScopeMetrics()[0].GetMetrics()[0]
			if got.GetName() != "agent.run.latency_ms" || got.GetUnit() != "ms" || got.GetHistogram().GetDataPoints()[0].GetCount() != 1 {
				t.Errorf("metric %v", got)
			}
			for _, attributes := range [][]*common.KeyValue{
				received.spans[0].GetResource().GetAttributes(), received.metrics[0].GetResource().GetAttributes(),
			} {
				origin := map[string]string{}
				for _, a := range attributes {
					origin[a.GetKey()] = a.GetValue().GetStringValue()
				}
				if origin["service.name"] != "runwire" || origin["service.version"] != "v1.2.3" ||
					origin["deployment.environment.name"] != "test" || origin["service.instance.id"] == "" {
					t.Errorf("resource %v", origin)
				}
			}
		})
	}
}

func TestTheServiceCanBeRenamed(t *testing.T) {
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "service.name=other,service.version=v9,no equals sign")
	t.Setenv("OTEL_SERVICE_NAME", "chat-agents")
	var out lockedBuffer
	tel := open(t, Options{Logger: NewLogger(&out, FormatJSON, slog.LevelInfo)})
	text := scrape(t, tel)
	for _, want := range []string{`service_name="chat-agents"`, `service_version="v9"`} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in target_info", want)
		}
	}
	if got := out.String(); !strings.Contains(got, "OTEL_RESOURCE_ATTRIBUTES") {
		t.Errorf("the broken attribute is not told: %s", got)
	}
	if err := tel.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestTheSamplerIsTheVariablesChoice(t *testing.T) {
	var received collector
	t.Setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", received.serveGRPC(t))
	t.Setenv("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc")
	t.Setenv("OTEL_TRACES_SAMPLER", "parentbased_always_off")
	tel := open(t, Options{})
	use(t.Context(), t, tel)
	sampled := tel.Propagator.Extract(t.Context(), propagation.MapCarrier{
		"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
	})
	use(sampled, t, tel)
	if err := tel.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(received.spans) != 1 || len(received.spans[0].GetScopeSpans()[0].GetSpans()) != 1 {
		t.Fatalf("got %v, want the span of the caller that samples and no other", received.spans)
	}
	if len(received.metrics) != 0 {
		t.Error("metrics were sent that nobody asked for")
	}
}

func TestABrokenCollectorHoldsNothingUp(t *testing.T) {
	for _, protocol := range []string{"grpc", "http/protobuf"} {
		for name, test := range map[string]struct {
			endpoint func(*testing.T) string
			shutdown []error // any of these
		}{
			"refuses": {endpoint: refusing, shutdown: []error{nil, context.DeadlineExceeded}}, // gRPC keeps trying
			"hangs":   {endpoint: hanging, shutdown: []error{context.DeadlineExceeded}},
		} {
			t.Run(name+" "+protocol, func(t *testing.T) {
				t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", test.endpoint(t))
				t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
				var out lockedBuffer
				tel := open(t, Options{Logger: NewLogger(&out, FormatJSON, slog.LevelInfo)})
				// More than any queue holds: a call that waited for the collector would never return.
				for range 10_000 {
					use(t.Context(), t, tel)
				}
				if !strings.Contains(scrape(t, tel), "agent_run_latency_ms_count{agent=\"default\"} 10000") {
					t.Error("the scrape suffers from the collector")
				}
				ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
				defer cancel()
				err := tel.Shutdown(ctx)
				if !slices.ContainsFunc(test.shutdown, func(want error) bool { return errors.Is(err, want) }) {
					t.Errorf("shutdown: %v, want one of %v", err, test.shutdown)
				}
				if got := out.String(); !strings.Contains(got, `"message":"telemetry was not delivered"`) {
					t.Errorf("the loss is not logged: %s", got)
				}
			})
		}
	}
}

func TestABucketPointsToATraceThatWasInIt(t *testing.T) {
	var received collector
	t.Setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", received.serveHTTP(t)+"/v1/traces")
	tel := open(t, Options{})
	ctx, span := tel.TracerProvider.Tracer("test").Start(t.Context(), "rpc")
	use(ctx, t, tel)
	span.End()

	w := httptest.NewRecorder()
	request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil)
	request.Header.Set("Accept", "application/openmetrics-text; version=1.0.0")
	tel.MetricsHandler.ServeHTTP(w, request)
	if want := `trace_id="` + span.SpanContext().TraceID().String(); !strings.Contains(w.Body.String(), want) {
		t.Errorf("no %s in %s", want, w.Body)
	}
	if err := tel.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestSettingsThatCannotBeHadAreToldAndIgnored(t *testing.T) {
	t.Setenv("OTEL_TRACES_EXPORTER", "zipkin")
	t.Setenv("OTEL_METRICS_EXPORTER", "console")
	var out lockedBuffer
	tel := open(t, Options{Logger: NewLogger(&out, FormatJSON, slog.LevelInfo)})
	use(t.Context(), t, tel)
	if err := tel.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	for _, want := range []string{`OTEL_TRACES_EXPORTER: \"zipkin\" is not supported`, `OTEL_METRICS_EXPORTER: \"console\" is not supported`} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %s in %s", want, out.String())
		}
	}
}

func TestDisabledMeansNothingIsMeasured(t *testing.T) {
	var received collector
	t.Setenv("OTEL_SDK_DISABLED", "TRUE")
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", received.serveGRPC(t))
	t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
	tel := open(t, Options{})
	use(t.Context(), t, tel)
	text := scrape(t, tel)
	if err := tel.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if len(received.spans)+len(received.metrics) != 0 {
		t.Error("something was exported")
	}
	if strings.Contains(text, "agent_run") || !strings.Contains(text, "go_goroutines") {
		t.Errorf("want the runtime's metrics alone, got %s", text)
	}
}

// lockedBuffer is a log that is read while exporters write to it.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

package telemetry

import (
	"context"
	"testing"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

func start(ctx context.Context) (context.Context, trace.SpanContext) {
	ctx, span := idProvider{}.Tracer("test").Start(ctx, "span")
	span.End()
	return ctx, span.SpanContext()
}

func TestEverySpanHasATraceIDWithNoExporter(t *testing.T) {
	t.Parallel()
	ctx, first := start(t.Context())
	if !first.IsValid() || first.IsSampled() || !first.Equal(trace.SpanContextFromContext(ctx)) {
		t.Errorf("got %v, want a valid context that is not sampled, in ctx too", first)
	}
	if _, second := start(t.Context()); second.TraceID() == first.TraceID() {
		t.Error("two roots share a trace")
	}
	if _, child := start(ctx); child.TraceID() != first.TraceID() {
		t.Error("a child is in another trace than its parent")
	}
}

func TestACallersTraceGoesThroughUnchangedWithNoExporter(t *testing.T) {
	t.Parallel()
	for _, flags := range []string{"00", "01"} {
		in := propagation.MapCarrier{
			"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-" + flags,
			"tracestate":  "vendor=value",
		}
		var w3c propagation.TraceContext
		ctx, _ := start(w3c.Extract(t.Context(), in))
		ctx, _ = start(ctx)
		out := propagation.MapCarrier{}
		w3c.Inject(ctx, out)
		if out["traceparent"] != in["traceparent"] || out["tracestate"] != in["tracestate"] {
			t.Errorf("got %v, want %v", out, in)
		}
	}
}

func TestABrokenTraceparentStartsANewTrace(t *testing.T) {
	t.Parallel()
	for _, value := range []string{
		"", "x", "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
		"00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
	} {
		ctx := propagation.TraceContext{}.Extract(t.Context(), propagation.MapCarrier{"traceparent": value})
		if _, span := start(ctx); !span.IsValid() || span.IsRemote() {
			t.Errorf("traceparent %q: got %v, want a new trace", value, span)
		}
	}
}

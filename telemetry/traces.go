package telemetry

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"os"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/embedded"
)

func (t *Telemetry) openTraces(ctx context.Context, res *resource.Resource, log *slog.Logger) {
	t.TracerProvider = idProvider{}
	exporter := newSpanExporter(ctx, log)
	if exporter == nil {
		return
	}
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithResource(res),
		sdktrace.WithBatcher(tellingSpans{SpanExporter: exporter, failures: newFailureLog(log, "traces")}),
	)
	t.TracerProvider = provider
	t.closers = append(t.closers, func(ctx context.Context) error {
		if err := provider.Shutdown(ctx); err != nil {
			// The provider has given up waiting; this ends what it waited for.
			_ = exporter.Shutdown(ctx)
			return fmt.Errorf("sending the last spans: %w", err)
		}
		return nil
	})
}

// newSpanExporter returns nil when none is asked for or it cannot be made.
func newSpanExporter(ctx context.Context, log *slog.Logger) sdktrace.SpanExporter {
	protocol, complaints := otlpProtocol(os.Getenv, "TRACES")
	complain(ctx, log, complaints)

	var exporter sdktrace.SpanExporter
	var err error
	switch protocol {
	case protocolGRPC:
		exporter, err = otlptracegrpc.New(ctx)
	case protocolHTTP:
		exporter, err = otlptracehttp.New(ctx)
	default:
		return nil
	}
	if err != nil {
		log.WarnContext(ctx, "traces are not exported", slog.Any("error", err))
		return nil
	}
	return exporter
}

// idProvider gives out trace ids and records nothing. A span in a trace that
// has begun, here or at the caller, stands for its parent: what is called next
// joins the caller's trace as if this process were not there, sampled or not.
type idProvider struct{ embedded.TracerProvider }

func (idProvider) Tracer(string, ...trace.TracerOption) trace.Tracer { return idTracer{} }

type idTracer struct{ embedded.Tracer }

func (idTracer) Start(ctx context.Context, _ string, _ ...trace.SpanStartOption) (context.Context, trace.Span) {
	parent := trace.SpanFromContext(ctx)
	is := parent.SpanContext()
	switch {
	case !is.IsValid():
		is = newRoot()
	case !parent.IsRecording():
		return ctx, parent // its End does nothing
	}
	ctx = trace.ContextWithSpanContext(ctx, is)
	return ctx, trace.SpanFromContext(ctx)
}

func newRoot() trace.SpanContext {
	var config trace.SpanContextConfig
	_, _ = rand.Read(config.TraceID[:]) // never fails
	_, _ = rand.Read(config.SpanID[:])
	return trace.NewSpanContext(config)
}

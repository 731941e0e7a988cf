package telemetry

import (
	"io"
	"log/slog"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

func BenchmarkSpan(b *testing.B) {
	remote := propagation.TraceContext{}.Extract(b.Context(), propagation.MapCarrier{
		"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
	})
	for name, provider := range map[string]trace.TracerProvider{
		"ids": idProvider{}, "sdk": sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.NeverSample()))),
	} {
		tracer := provider.Tracer("test")
		b.Run(name+"/root", func(b *testing.B) {
			for b.Loop() {
				_, span := tracer.Start(b.Context(), "span")
				span.End()
			}
		})
		b.Run(name+"/sampled by the caller", func(b *testing.B) {
			for b.Loop() {
				_, span := tracer.Start(remote, "span")
				span.End()
			}
		})
	}
}

func BenchmarkLogger(b *testing.B) {
	log := NewLogger(io.Discard, FormatJSON, slog.LevelInfo)
	plain := b.Context()
	ctx := spanContext(plain)
	attrs := []slog.Attr{
		slog.String("run_id", "0198c2f0-5b1e-7000-8000-000000000000"), slog.String("method", "/agent.v1.AgentService/Run"),
		slog.String("code", "OK"), slog.Duration("duration", 15*time.Millisecond), slog.String("tenant", "default"),
		slog.String("user_id", "ada"), slog.String("peer", "127.0.0.1:40000"), slog.Int("sent", 1), slog.Int("received", 1),
		slog.Bool("stream", false),
	}
	b.Run("in a span", func(b *testing.B) {
		for b.Loop() {
			log.LogAttrs(ctx, slog.LevelInfo, "call finished", attrs...)
		}
	})
	b.Run("in no span", func(b *testing.B) {
		for b.Loop() {
			log.LogAttrs(plain, slog.LevelInfo, "call finished", attrs...)
		}
	})
	nowhere := io.Discard
	bare := slog.New(slog.NewJSONHandler(nowhere, nil))
	b.Run("slog alone", func(b *testing.B) {
		for b.Loop() {
			bare.LogAttrs(plain, slog.LevelInfo, "call finished", attrs...)
		}
	})
	b.Run("below the level", func(b *testing.B) {
		for b.Loop() {
			log.LogAttrs(ctx, slog.LevelDebug, "call finished", attrs...)
		}
	})
}

func BenchmarkHistogram(b *testing.B) {
	tel, err := Setup(b.Context(), Options{})
	if err != nil {
		b.Fatal(err)
	}
	histogram, err := tel.MeterProvider.Meter("test").Float64Histogram("run.duration", metric.WithUnit("s"))
	if err != nil {
		b.Fatal(err)
	}
	set := metric.WithAttributeSet(attribute.NewSet(attribute.String("agent", "default"), attribute.String("model", "offline")))
	for b.Loop() {
		histogram.Record(b.Context(), 0.5, set)
	}
}

func BenchmarkSetup(b *testing.B) {
	for b.Loop() {
		if _, err := Setup(b.Context(), Options{}); err != nil {
			b.Fatal(err)
		}
	}
}

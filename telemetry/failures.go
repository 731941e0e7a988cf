package telemetry

import (
	"context"
	"log/slog"
	"sync"
	"time"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// failureInterval is how often one signal's failures may be logged: a
// collector that is down must not fill the log.
const failureInterval = time.Minute

// failureLog tells of the failed exports of one signal, now and then. Safe for
// concurrent use.
type failureLog struct {
	log    *slog.Logger
	signal string

	mu         sync.Mutex
	quietUntil time.Time
	failures   int // since the last line
}

func newFailureLog(log *slog.Logger, signal string) *failureLog {
	return &failureLog{log: log, signal: signal}
}

func (l *failureLog) add(ctx context.Context, err error) {
	l.mu.Lock()
	l.failures++
	failures, now := l.failures, time.Now()
	quiet := now.Before(l.quietUntil)
	if !quiet {
		l.quietUntil, l.failures = now.Add(failureInterval), 0
	}
	l.mu.Unlock()
	if quiet {
		return
	}
	l.log.WarnContext(ctx, "telemetry was not delivered",
		slog.String("signal", l.signal), slog.Int("failures", failures), slog.Any("error", err))
}

// tellingSpans and tellingMetrics keep an exporter's errors from the SDK,
// whose handler for them is a global one.
type tellingSpans struct {
	sdktrace.SpanExporter

	failures *failureLog
}

func (e tellingSpans) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	if err := e.SpanExporter.ExportSpans(ctx, spans); err != nil {
		e.failures.add(ctx, err)
	}
	return nil
}

type tellingMetrics struct {
	sdkmetric.Exporter

	failures *failureLog
}

func (e tellingMetrics) Export(ctx context.Context, metrics *metricdata.ResourceMetrics) error {
	if err := e.Exporter.Export(ctx, metrics); err != nil {
		e.failures.add(ctx, err)
	}
	return nil
}

func complain(ctx context.Context, log *slog.Logger, complaints []string) {
	for _, complaint := range complaints {
		log.WarnContext(ctx, "a telemetry setting is ignored", slog.String("reason", complaint))
	}
}

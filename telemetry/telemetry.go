// Package telemetry carries metrics, traces and logs out of the process:
// Prometheus always, OTLP where the standard OTEL_* variables ask for it.
// It must not know of agents, gRPC or what is measured.
package telemetry

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/trace"
)

// ShutdownTimeout bounds Telemetry.Shutdown, whatever its context allows.
const ShutdownTimeout = 5 * time.Second

// Options says how a process tells of itself. The zero value is ready to use.
type Options struct {
	// Logger gets a warning when an export fails, at most one a minute for each
	// signal, and one for each OTEL_* variable that cannot be honoured. Nil
	// discards them.
	Logger *slog.Logger
	// Version is the resource's service.version; empty is Version().
	Version string
}

// Telemetry is where a process's metrics and spans go. All of it is safe for
// concurrent use, and none of it is set globally.
type Telemetry struct {
	// MeterProvider makes the meters that MetricsHandler and OTLP report.
	MeterProvider metric.MeterProvider
	// TracerProvider makes tracers whose spans always have a trace id, also
	// when nothing is exported, so that logs can be told apart by it.
	TracerProvider trace.TracerProvider
	// Propagator reads and writes the W3C `traceparent` and `tracestate`.
	Propagator propagation.TextMapPropagator
	// MetricsHandler answers a scrape in Prometheus' format. Metrics are
	// gathered while it answers, and at no other time.
	MetricsHandler http.Handler

	closers []func(context.Context) error
}

// Setup opens what the OTEL_* variables of the process ask for; docs/telemetry.md
// lists them. It connects to nothing: an address that does not answer is found
// out by the exporters, in the background, and told to the logger. A variable
// that cannot be honoured is told to the logger too, and is no error.
//
// The caller closes what it got with Shutdown.
func Setup(ctx context.Context, opts Options) (*Telemetry, error) {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Version == "" {
		opts.Version = Version()
	}
	t := &Telemetry{Propagator: propagation.TraceContext{}}
	if strings.EqualFold(strings.TrimSpace(os.Getenv("OTEL_SDK_DISABLED")), "true") {
		return t, t.openDisabled()
	}
	res := describe(ctx, opts)
	t.openTraces(ctx, res, opts.Logger)
	return t, t.openMetrics(ctx, res, opts.Logger)
}

// Shutdown sends what is still buffered and stops. It returns once that is
// done, and at the latest when ctx is or ShutdownTimeout has passed: what is
// unsent then is lost, and the error is a context's. What a collector refuses
// is lost too, and told to the logger alone. Instruments and tracers may be
// used after it; they do nothing. Call it once.
func (t *Telemetry) Shutdown(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, ShutdownTimeout)
	defer cancel()
	errs := make([]error, len(t.closers))
	var wg sync.WaitGroup
	for i, closer := range t.closers {
		wg.Go(func() { errs[i] = closer(ctx) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// describe is what every exported span and metric says of its origin. The
// variables win; the instance id keeps the series of two replicas apart.
func describe(ctx context.Context, opts Options) *resource.Resource {
	res, err := resource.New(ctx,
		resource.WithTelemetrySDK(),
		resource.WithAttributes(
			attribute.String("service.name", "runwire"),
			attribute.String("service.version", opts.Version),
			attribute.String("service.instance.id", uuid.NewString()),
		),
		resource.WithFromEnv(),
	)
	if err != nil {
		opts.Logger.WarnContext(ctx, "OTEL_RESOURCE_ATTRIBUTES is only partly understood", slog.Any("error", err))
	}
	return res
}

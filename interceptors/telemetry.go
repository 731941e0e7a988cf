package interceptors

import (
	"cmp"
	"context"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/otel/metric"
	noopmetric "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	nooptrace "go.opentelemetry.io/otel/trace/noop"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/stats"
)

// telemetry makes a span and a duration of every call, and takes up the
// caller's trace.
//
// It tells otelgrpc's stats handler of a call's begin and end itself: given the
// handler, grpc would make an event of every message, one a streamed token,
// for a handler that does nothing with them. Interceptors also see registered
// methods only, so that a caller cannot invent values for a metric's label.
func telemetry(cfg Config) wrap {
	handler := otelgrpc.NewServerHandler(
		otelgrpc.WithTracerProvider(cmp.Or[trace.TracerProvider](cfg.TracerProvider, nooptrace.NewTracerProvider())),
		otelgrpc.WithMeterProvider(cmp.Or[metric.MeterProvider](cfg.MeterProvider, noopmetric.NewMeterProvider())),
		otelgrpc.WithPropagators(cmp.Or[propagation.TextMapPropagator](cfg.Propagator, propagation.TraceContext{})),
	)
	return func(ctx context.Context, p *passage) error {
		ctx = handler.TagRPC(ctx, &stats.RPCTagInfo{FullMethodName: p.method})
		begin := time.Now()
		if from, ok := peer.FromContext(ctx); ok && trace.SpanFromContext(ctx).IsRecording() {
			handler.HandleRPC(ctx, &stats.InHeader{FullMethod: p.method, RemoteAddr: from.Addr, LocalAddr: from.LocalAddr})
		}
		err := p.next(ctx)
		handler.HandleRPC(ctx, &stats.End{BeginTime: begin, EndTime: time.Now(), Error: err})
		return err
	}
}

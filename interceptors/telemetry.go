package interceptors

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	otelcodes "go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	noopmetric "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/semconv/v1.43.0/rpcconv"
	"go.opentelemetry.io/otel/trace"
	nooptrace "go.opentelemetry.io/otel/trace/noop"
	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// scope names the instrumentation.
const scope = "github.com/runwire/runwire/interceptors"

// telemetry makes a span and a duration of every call, by OpenTelemetry's
// conventions for RPC, and takes up the caller's trace.
//
// It is no stats handler: given one, grpc would make an event of every message,
// one a streamed token. Interceptors also see registered methods only, so that
// a caller cannot invent values for a metric's label.
func telemetry(cfg Config) (wrap, error) {
	t := &rpcTelemetry{
		tracer:     cmp.Or[trace.TracerProvider](cfg.TracerProvider, nooptrace.NewTracerProvider()).Tracer(scope),
		propagator: cmp.Or[propagation.TextMapPropagator](cfg.Propagator, propagation.TraceContext{}),
	}
	meter := cmp.Or[metric.MeterProvider](cfg.MeterProvider, noopmetric.NewMeterProvider()).Meter(scope)
	var err error
	// The boundaries are those that the convention advises.
	if t.duration, err = rpcconv.NewServerCallDuration(meter, metric.WithExplicitBucketBoundaries(
		0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)); err != nil {
		return nil, fmt.Errorf("making the metric of calls: %w", err)
	}
	return t.wrap, nil
}

type rpcTelemetry struct {
	tracer     trace.Tracer
	propagator propagation.TextMapPropagator
	duration   rpcconv.ServerCallDuration
	methods    sync.Map // of *rpcMethod, by their full names
}

func (t *rpcTelemetry) wrap(ctx context.Context, p *passage) error {
	begin := time.Now()
	m := t.method(p.method)
	ctx, span := t.tracer.Start(t.propagator.Extract(ctx, headers{ctx}), m.name, m.start...)
	if span.IsRecording() {
		span.SetAttributes(serverAddress(ctx)...)
	}
	err := p.next(ctx)
	ended := status.Convert(err)
	label := m.end(ended.Code())
	if span.IsRecording() {
		span.SetAttributes(label.status)
		if label.fault {
			span.SetStatus(otelcodes.Error, ended.Message())
		}
	}
	span.End()
	t.duration.Inst().Record(ctx, time.Since(begin).Seconds(), label.record...)
	return err
}

// rpcMethod is what is recorded of a method's calls, made once.
type rpcMethod struct {
	name  string
	start []trace.SpanStartOption
	ends  [codes.Unauthenticated + 1]rpcEnd // by code
}

// rpcEnd is what is recorded of a call's end.
type rpcEnd struct {
	status attribute.KeyValue
	fault  bool // it is the server's
	record []metric.RecordOption
}

// end is that of a code; one that gRPC does not have is UNKNOWN.
func (m *rpcMethod) end(number codes.Code) *rpcEnd {
	if int(number) >= len(m.ends) {
		number = codes.Unknown
	}
	return &m.ends[number]
}

func (t *rpcTelemetry) method(full string) *rpcMethod {
	known, ok := t.methods.Load(full)
	if !ok {
		known, _ = t.methods.LoadOrStore(full, newRPCMethod(strings.TrimPrefix(full, "/")))
	}
	return known.(*rpcMethod) //nolint:forcetypeassert // nothing else is stored
}

func newRPCMethod(name string) *rpcMethod {
	called := []attribute.KeyValue{semconv.RPCSystemNameGRPC, semconv.RPCMethod(name)}
	m := &rpcMethod{name: name, start: []trace.SpanStartOption{
		trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(called...),
	}}
	for i := range m.ends {
		end, number := &m.ends[i], codes.Code(i)
		text := code.Code(number).String()
		end.status = semconv.RPCResponseStatusCode(text)
		attributes := append(append([]attribute.KeyValue{}, called...), end.status)
		if end.fault = serversFault(number); end.fault {
			attributes = append(attributes, semconv.ErrorTypeKey.String(text))
		}
		end.record = []metric.RecordOption{metric.WithAttributeSet(attribute.NewSet(attributes...))}
	}
	return m
}

// serversFault says which codes the convention counts as a server's errors.
func serversFault(number codes.Code) bool {
	switch number {
	case codes.Unknown, codes.DeadlineExceeded, codes.Unimplemented, codes.Internal, codes.Unavailable, codes.DataLoss:
		return true
	default:
		return false
	}
}

// serverAddress is where the call came in.
func serverAddress(ctx context.Context) []attribute.KeyValue {
	p, ok := peer.FromContext(ctx)
	if !ok || p.LocalAddr == nil {
		return nil
	}
	if tcp, ok := p.LocalAddr.(*net.TCPAddr); ok {
		return []attribute.KeyValue{semconv.ServerAddress(tcp.IP.String()), semconv.ServerPort(tcp.Port)}
	}
	return []attribute.KeyValue{semconv.ServerAddress(p.LocalAddr.String())}
}

// headers are a call's, for the propagator, which only reads.
type headers struct{ ctx context.Context } //nolint:containedctx // it is where grpc keeps them

// Get implements propagation.TextMapCarrier.
func (h headers) Get(key string) string {
	if values := h.Values(key); len(values) > 0 {
		return values[0]
	}
	return ""
}

// Values implements propagation.ValuesGetter.
func (h headers) Values(key string) []string { return metadata.ValueFromIncomingContext(h.ctx, key) }

// Keys implements propagation.TextMapCarrier.
func (h headers) Keys() []string {
	all, _ := metadata.FromIncomingContext(h.ctx)
	keys := make([]string, 0, len(all))
	for key := range all {
		keys = append(keys, key)
	}
	return keys
}

// Set implements propagation.TextMapCarrier.
func (headers) Set(string, string) {}

package agent

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/runwire/runwire/agent/model"
	agentv1 "github.com/runwire/runwire/gen/agent/v1"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/trace"
	tracenoop "go.opentelemetry.io/otel/trace/noop"
)

// scope names the instrumentation. The gen_ai names and attributes are those
// of OpenTelemetry's semantic conventions v1.41.1; the durations of
// invoke_agent and execute_tool are from the draft after it.
const scope = "github.com/runwire/runwire/agent"

// telemetry starts and ends spans and records a run's counts, once at the end
// of each of its parts and never per token.
type telemetry struct {
	tracer trace.Tracer
	instruments
}

func newTelemetry(meters metric.MeterProvider, tracers trace.TracerProvider) (*telemetry, error) {
	if meters == nil {
		meters = metricnoop.NewMeterProvider()
	}
	if tracers == nil {
		tracers = tracenoop.NewTracerProvider()
	}
	i, err := newInstruments(meters.Meter(scope))
	if err != nil {
		return nil, err
	}
	return &telemetry{tracer: tracers.Tracer(scope), instruments: i}, nil
}

// startRun starts a run's span under the caller's.
func (t *telemetry) startRun(ctx context.Context, r *Run) (context.Context, trace.Span) {
	ctx, span := t.tracer.Start(ctx, r.agent.metrics.spanName)
	if span.IsRecording() {
		span.SetAttributes(
			attribute.String("gen_ai.operation.name", "invoke_agent"),
			attribute.String("gen_ai.provider.name", r.agent.models[0].metrics.provider),
			attribute.String("gen_ai.request.model", r.agent.models[0].metrics.model),
			attribute.String("gen_ai.agent.name", r.agent.Name),
			attribute.String("gen_ai.conversation.id", r.session),
			attribute.String("runwire.run.id", r.id),
		)
	}
	return ctx, span
}

// endRun records how a run ended. The caller ends the span.
func (t *telemetry) endRun(ctx context.Context, r *Run, end *ending, latency time.Duration) {
	outcome := r.agent.metrics.outcomes[end.reason]
	t.runLatency.Record(ctx, float64(latency)/float64(time.Millisecond), outcome.record...)
	t.runIterations.Record(ctx, int64(r.iterations), outcome.record...)
	t.runs.Add(ctx, 1, outcome.add...)
	invoked := r.agent.metrics.invoked
	if end.reason != agentv1.StopReason_STOP_REASON_COMPLETED {
		invoked = r.agent.metrics.failed[end.reason]
	}
	t.invokeAgent.Record(ctx, latency.Seconds(), invoked.record...)
	if !r.span.IsRecording() {
		return
	}
	r.span.SetAttributes(
		attribute.Int64("gen_ai.usage.input_tokens", r.budget.used.InputTokens),
		attribute.Int64("gen_ai.usage.output_tokens", r.budget.used.OutputTokens),
		attribute.Int64("gen_ai.usage.cache_read.input_tokens", r.budget.used.CachedInputTokens),
		attribute.Int64("gen_ai.usage.cache_creation.input_tokens", r.budget.used.CacheWriteTokens),
		attribute.Int("runwire.run.iterations", int(r.iterations)),
		attribute.String("runwire.run.stop_reason", stopName(end.reason)),
	)
	if !r.budget.unpriced {
		r.span.SetAttributes(attribute.Float64("runwire.usage.cost_usd", r.budget.cost.USD()))
	}
	if end.reason != agentv1.StopReason_STOP_REASON_COMPLETED {
		fail(r.span, stopName(end.reason), end.why)
	}
}

// pauseRun marks the span of a run that waits for a person. It is not counted:
// it has not ended.
func (*telemetry) pauseRun(r *Run) {
	r.span.SetAttributes(attribute.String("runwire.run.stop_reason", "waiting_approval"))
}

// startChat starts a model call's span. There is none under a run whose own
// span is not recorded.
func (t *telemetry) startChat(ctx context.Context, run trace.Span, m *pricedModel, req *model.Request) (context.Context, trace.Span) {
	if !run.IsRecording() {
		return ctx, nil
	}
	ctx, span := t.tracer.Start(ctx, m.metrics.spanName, trace.WithSpanKind(trace.SpanKindClient)) //nolint:spancheck // endChat ends it.
	span.SetAttributes(m.metrics.attributes...)
	span.SetAttributes(
		attribute.Int64("gen_ai.request.max_tokens", req.MaxOutputTokens),
		attribute.Bool("gen_ai.request.stream", true),
	)
	return ctx, span //nolint:spancheck // see above.
}

// chat is what came of one model call.
type chat struct {
	err        error
	latency    time.Duration
	firstChunk time.Duration // 0 when nothing was said
	cost       model.Money
	priced     bool
}

func (t *telemetry) endChat(ctx context.Context, span trace.Span, m *pricedModel, reply *model.Reply, c *chat) {
	kind := errorKind(c.err)
	called := m.metrics.called
	if kind != "" {
		called = m.metrics.failedWith(kind)
	}
	t.chatDuration.Record(ctx, c.latency.Seconds(), called.record...)
	if c.firstChunk > 0 {
		t.firstChunk.Record(ctx, c.firstChunk.Seconds(), m.metrics.called.record...)
	}
	if usage := reply.Usage; usage != (model.Usage{}) {
		t.tokenUsage.Record(ctx, usage.InputTokens, m.metrics.input.record...)
		t.tokenUsage.Record(ctx, usage.OutputTokens, m.metrics.output.record...)
		t.tokensUsed.Add(ctx, usage.InputTokens, m.metrics.agentInput.add...)
		t.tokensUsed.Add(ctx, usage.OutputTokens, m.metrics.agentOutput.add...)
	}
	if c.priced {
		t.cost.Add(ctx, c.cost.USD(), m.metrics.agentModel.add...)
	}
	if span == nil {
		return
	}
	defer span.End()
	span.SetAttributes(
		attribute.StringSlice("gen_ai.response.finish_reasons", []string{string(reply.Stop)}),
		attribute.Int64("gen_ai.usage.input_tokens", reply.Usage.InputTokens),
		attribute.Int64("gen_ai.usage.output_tokens", reply.Usage.OutputTokens),
		attribute.Int64("gen_ai.usage.cache_read.input_tokens", reply.Usage.CachedInputTokens),
		attribute.Int64("gen_ai.usage.cache_creation.input_tokens", reply.Usage.CacheWriteTokens),
		attribute.Float64("gen_ai.response.time_to_first_chunk", c.firstChunk.Seconds()),
	)
	if reply.ResponseModel != "" {
		span.SetAttributes(attribute.String("gen_ai.response.model", reply.ResponseModel))
	}
	if reply.ResponseID != "" {
		span.SetAttributes(attribute.String("gen_ai.response.id", reply.ResponseID))
	}
	if kind != "" {
		fail(span, kind, "")
	}
}

// startTool starts a tool call's span, under the same rule as startChat.
func (t *telemetry) startTool(ctx context.Context, run trace.Span, call model.ToolCall) (context.Context, trace.Span) {
	if !run.IsRecording() {
		return ctx, nil
	}
	ctx, span := t.tracer.Start(ctx, "execute_tool "+call.Name) //nolint:spancheck // endTool ends it.
	span.SetAttributes(
		attribute.String("gen_ai.operation.name", "execute_tool"),
		attribute.String("gen_ai.tool.name", call.Name),
		attribute.String("gen_ai.tool.call.id", call.ID),
		attribute.String("gen_ai.tool.type", "function"),
	)
	return ctx, span //nolint:spancheck // see above.
}

func (t *telemetry) endTool(ctx context.Context, span trace.Span, r *Run, name string, o outcome) {
	tool := r.agent.metrics.unknownTool
	if _, known := r.tool(name); known || r.tools.agents[name] != nil {
		tool = r.agent.metrics.tool(name)
	}
	t.toolCalls.Add(ctx, 1, tool.called.add...)
	executed := tool.executed
	if o.err != nil {
		kind := string(o.err.Type)
		failed := metric.WithAttributes(attribute.String("error.type", kind))
		t.toolErrors.Add(ctx, 1, append(slices.Clone(tool.called.add), failed)...)
		executed = tool.failedWith(kind)
	}
	t.executeTool.Record(ctx, o.latency.Seconds(), executed.record...)
	if span == nil {
		return
	}
	defer span.End()
	if o.err != nil {
		fail(span, string(o.err.Type), "")
	}
}

// fail marks a span as failed. Its description never quotes a model or a tool.
func fail(span trace.Span, kind, why string) {
	span.SetAttributes(attribute.String("error.type", kind))
	span.SetStatus(codes.Error, why)
}

// errorKind is a model error's error.type; empty without an error.
func errorKind(err error) string {
	if failed, ok := errors.AsType[*model.Error](err); ok {
		return string(failed.Kind)
	}
	switch {
	case err == nil:
		return ""
	case errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	default:
		return "cancelled"
	}
}

// stopName is a stop reason as telemetry writes it: `completed`, `token_budget`, ….
func stopName(reason agentv1.StopReason) string {
	return strings.ToLower(strings.TrimPrefix(reason.String(), "STOP_REASON_"))
}

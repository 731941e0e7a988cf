package agent

import (
	"errors"
	"strings"
	"sync"

	agentv1 "github.com/runwire/runwire/gen/agent/v1"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// instruments are the metrics of runs. The agent.* names are what dashboards
// of agents commonly use; the gen_ai.* ones are OpenTelemetry's.
type instruments struct {
	runLatency    metric.Float64Histogram
	runIterations metric.Int64Histogram
	runs          metric.Int64Counter
	tokensUsed    metric.Int64Counter
	cost          metric.Float64Counter
	toolCalls     metric.Int64Counter
	toolErrors    metric.Int64Counter

	invokeAgent  metric.Float64Histogram
	chatDuration metric.Float64Histogram
	firstChunk   metric.Float64Histogram
	tokenUsage   metric.Int64Histogram
	executeTool  metric.Float64Histogram
}

func newInstruments(m metric.Meter) (instruments, error) {
	var errs []error
	seconds := func(name, description string, bounds ...float64) metric.Float64Histogram {
		h, err := m.Float64Histogram(name, metric.WithUnit("s"), metric.WithDescription(description),
			metric.WithExplicitBucketBoundaries(bounds...))
		errs = append(errs, err)
		return h
	}
	counts := func(name, unit, description string, bounds ...float64) metric.Int64Histogram {
		h, err := m.Int64Histogram(name, metric.WithUnit(unit), metric.WithDescription(description),
			metric.WithExplicitBucketBoundaries(bounds...))
		errs = append(errs, err)
		return h
	}
	counter := func(name, unit, description string) metric.Int64Counter {
		c, err := m.Int64Counter(name, metric.WithUnit(unit), metric.WithDescription(description))
		errs = append(errs, err)
		return c
	}
	latency, err := m.Float64Histogram("agent.run.latency_ms", metric.WithUnit("ms"),
		metric.WithDescription("How long a run took, from its begin to its end."),
		metric.WithExplicitBucketBoundaries(5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000, 120000, 300000, 600000))
	errs = append(errs, err)
	cost, err := m.Float64Counter("agent.llm.cost_usd", metric.WithUnit("USD"),
		metric.WithDescription("What model calls cost, where the price is known."))
	errs = append(errs, err)
	// The boundaries of the gen_ai histograms are those the conventions advise.
	durations := []float64{0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92}
	return instruments{
		runLatency:    latency,
		runIterations: counts("agent.run.iterations", "{iteration}", "How many model calls a run's loop made.", 1, 2, 3, 5, 8, 13, 20, 50),
		runs:          counter("agent.run.success_rate", "{run}", "Runs, by outcome."),
		tokensUsed:    counter("agent.llm.tokens_used", "{token}", "Tokens used, by type."),
		cost:          cost,
		toolCalls:     counter("agent.tool.calls_total", "{call}", "Tool calls."),
		toolErrors:    counter("agent.tool.error_rate", "{error}", "Failed tool calls, by error type."),
		invokeAgent:   seconds("gen_ai.invoke_agent.duration", "Duration of one invocation of an agent.", durations...),
		chatDuration:  seconds("gen_ai.client.operation.duration", "GenAI operation duration.", durations...),
		firstChunk: seconds("gen_ai.client.operation.time_to_first_chunk", "Time to receive the first chunk of a reply.",
			0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10),
		tokenUsage: counts("gen_ai.client.token.usage", "{token}", "Number of input and output tokens used.",
			1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864),
		executeTool: seconds("gen_ai.execute_tool.duration", "Duration of one tool call.", durations...),
	}, errors.Join(errs...)
}

// The labels of every measurement are made once, when the agents are
// configured: recording one then only looks it up.

type agentMetrics struct {
	spanName    string
	outcomes    map[agentv1.StopReason]labels
	invoked     labels
	failed      map[agentv1.StopReason]labels
	tools       sync.Map // of *toolMetrics, by name
	unknownTool *toolMetrics
}

// tool is what is recorded of a tool that the agent has.
func (m *agentMetrics) tool(name string) *toolMetrics {
	if known, ok := m.tools.Load(name); ok {
		return known.(*toolMetrics) //nolint:forcetypeassert // nothing else is stored
	}
	made, _ := m.tools.LoadOrStore(name, newToolMetrics(name))
	return made.(*toolMetrics) //nolint:forcetypeassert // see above
}

func newAgentMetrics(name string) *agentMetrics {
	invoked := []attribute.KeyValue{
		attribute.String("gen_ai.operation.name", "invoke_agent"),
		attribute.String("gen_ai.agent.name", name),
	}
	m := &agentMetrics{
		spanName:    "invoke_agent " + name,
		outcomes:    map[agentv1.StopReason]labels{},
		invoked:     label(invoked),
		failed:      map[agentv1.StopReason]labels{},
		unknownTool: newToolMetrics("_OTHER"),
	}
	for number := range agentv1.StopReason_name {
		reason := agentv1.StopReason(number)
		m.outcomes[reason] = label([]attribute.KeyValue{
			attribute.String("agent", name),
			attribute.String("outcome", stopName(reason)),
		})
		m.failed[reason] = label(invoked, attribute.String("error.type", stopName(reason)))
	}
	return m
}

type toolMetrics struct {
	attributes []attribute.KeyValue
	called     labels
	executed   labels
}

func newToolMetrics(name string) *toolMetrics {
	attributes := []attribute.KeyValue{
		attribute.String("gen_ai.operation.name", "execute_tool"),
		attribute.String("gen_ai.tool.name", name),
		attribute.String("gen_ai.tool.type", "function"),
	}
	return &toolMetrics{
		attributes: attributes,
		called:     label([]attribute.KeyValue{attribute.String("tool", name)}),
		executed:   label(attributes),
	}
}

func (m *toolMetrics) failedWith(kind string) labels {
	return label(m.attributes, attribute.String("error.type", kind))
}

type modelMetrics struct {
	spanName        string
	provider, model string
	attributes      []attribute.KeyValue

	called, input, output               labels
	agentModel, agentInput, agentOutput labels
}

// newModelMetrics is for the model an agent asks; name is `provider/model` or
// a provider that has but one.
func newModelMetrics(agent, name string) *modelMetrics {
	provider, id, found := strings.Cut(name, "/")
	if !found {
		id = provider
	}
	attributes := []attribute.KeyValue{
		attribute.String("gen_ai.operation.name", "chat"),
		attribute.String("gen_ai.provider.name", provider),
		attribute.String("gen_ai.request.model", id),
	}
	agentModel := []attribute.KeyValue{attribute.String("agent", agent), attribute.String("model", name)}
	return &modelMetrics{
		spanName:    "chat " + id,
		provider:    provider,
		model:       id,
		attributes:  attributes,
		called:      label(attributes),
		input:       label(attributes, attribute.String("gen_ai.token.type", "input")),
		output:      label(attributes, attribute.String("gen_ai.token.type", "output")),
		agentModel:  label(agentModel),
		agentInput:  label(agentModel, attribute.String("type", "input")),
		agentOutput: label(agentModel, attribute.String("type", "output")),
	}
}

func (m *modelMetrics) failedWith(kind string) labels {
	return label(m.attributes, attribute.String("error.type", kind))
}

// labels are a measurement's attributes, as instruments take them.
type labels struct {
	record []metric.RecordOption
	add    []metric.AddOption
}

func label(attributes []attribute.KeyValue, more ...attribute.KeyValue) labels {
	all := make([]attribute.KeyValue, 0, len(attributes)+len(more))
	option := metric.WithAttributeSet(attribute.NewSet(append(append(all, attributes...), more...)...))
	return labels{record: []metric.RecordOption{option}, add: []metric.AddOption{option}}
}

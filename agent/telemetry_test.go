package agent_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/runwire/runwire/agent"
	"github.com/runwire/runwire/agent/model"
	"github.com/runwire/runwire/agent/tool"
	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
)

// observed runs an agent with two turns and a failing tool under full telemetry.
func observed(t *testing.T) (spans []sdktrace.ReadOnlySpan, metrics []string, logs string) {
	t.Helper()
	recorder, reader := tracetest.NewSpanRecorder(), sdkmetric.NewManualReader()
	var log bytes.Buffer
	a := anAgent(&script{name: "test/priced", turns: []turn{
		{calls: []model.ToolCall{{ID: "1", Name: "good"}, {ID: "2", Name: "bad"}, {ID: "3", Name: "invented by the model"}}, usage: used(100, 10)},
		{say: []string{"The secret answer."}, usage: model.Usage{InputTokens: 200, CachedInputTokens: 100, OutputTokens: 20}},
	}})
	a.Tools = []*tool.Tool{
		aTool(t, "good", func(context.Context, json.RawMessage) (string, error) { return "secret output", nil }),
		aTool(t, "bad", func(context.Context, json.RawMessage) (string, error) { return "", errors.New("secret error") }),
	}
	r := newRunner(t, agent.Config{
		Agents: []agent.Agent{a}, Prices: prices, Log: slog.New(slog.NewJSONHandler(&log, nil)),
		Meter:  sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)),
		Tracer: sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder)),
	})
	if _, _, err := execute(t.Context(), t, r, agent.Request{Message: "secret question", SessionID: "sess_1"}); err != nil {
		t.Fatal(err)
	}
	var collected metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &collected); err != nil {
		t.Fatal(err)
	}
	for _, scope := range collected.ScopeMetrics {
		for _, m := range scope.Metrics {
			metrics = append(metrics, points(m)...)
		}
	}
	slices.Sort(metrics)
	return recorder.Ended(), metrics, log.String()
}

// points writes a metric's points as `name{attributes} value`; of a histogram's
// point the count, and the sum where it is no duration.
func points(m metricdata.Metrics) []string {
	var lines []string
	line := func(set attribute.Set, value any) {
		lines = append(lines, fmt.Sprintf("%s{%s} %v", m.Name, set.Encoded(attribute.DefaultEncoder()), value))
	}
	switch data := m.Data.(type) {
	case metricdata.Sum[int64]:
		for _, p := range data.DataPoints {
			line(p.Attributes, p.Value)
		}
	case metricdata.Sum[float64]:
		for _, p := range data.DataPoints {
			line(p.Attributes, p.Value)
		}
	case metricdata.Histogram[int64]:
		for _, p := range data.DataPoints {
			line(p.Attributes, fmt.Sprint(p.Count, " ", p.Sum))
		}
	case metricdata.Histogram[float64]:
		for _, p := range data.DataPoints {
			line(p.Attributes, p.Count)
		}
	}
	return lines
}

func TestRunIsMeasured(t *testing.T) {
	t.Parallel()
	_, metrics, _ := observed(t)
	want := []string{
		`agent.llm.cost_usd{agent=default,model=test/priced} 0.00036`,
		`agent.llm.tokens_used{agent=default,model=test/priced,type=input} 300`,
		`agent.llm.tokens_used{agent=default,model=test/priced,type=output} 30`,
		`agent.run.iterations{agent=default,outcome=completed} 1 2`,
		`agent.run.latency_ms{agent=default,outcome=completed} 1`,
		`agent.run.success_rate{agent=default,outcome=completed} 1`,
		`agent.tool.calls_total{tool=_OTHER} 1`,
		`agent.tool.calls_total{tool=bad} 1`,
		`agent.tool.calls_total{tool=good} 1`,
		`agent.tool.error_rate{error.type=failed,tool=bad} 1`,
		`agent.tool.error_rate{error.type=unknown_tool,tool=_OTHER} 1`,
		`gen_ai.client.operation.duration{gen_ai.operation.name=chat,gen_ai.provider.name=test,gen_ai.request.model=priced} 2`,
		`gen_ai.client.operation.time_to_first_chunk{gen_ai.operation.name=chat,gen_ai.provider.name=test,gen_ai.request.model=priced} 1`,
		`gen_ai.client.token.usage{gen_ai.operation.name=chat,gen_ai.provider.name=test,gen_ai.request.model=priced,gen_ai.token.type=input} 2 300`,
		`gen_ai.client.token.usage{gen_ai.operation.name=chat,gen_ai.provider.name=test,gen_ai.request.model=priced,gen_ai.token.type=output} 2 30`,
		`gen_ai.execute_tool.duration{error.type=failed,gen_ai.operation.name=execute_tool,gen_ai.tool.name=bad,gen_ai.tool.type=function} 1`,
		`gen_ai.execute_tool.duration{error.type=unknown_tool,gen_ai.operation.name=execute_tool,gen_ai.tool.name=_OTHER,gen_ai.tool.type=function} 1`,
		`gen_ai.execute_tool.duration{gen_ai.operation.name=execute_tool,gen_ai.tool.name=good,gen_ai.tool.type=function} 1`,
		`gen_ai.invoke_agent.duration{gen_ai.agent.name=default,gen_ai.operation.name=invoke_agent} 1`,
	}
	if diff := cmp.Diff(want, metrics); diff != "" {
		t.Error(diff)
	}
}

func TestRunIsTraced(t *testing.T) {
	t.Parallel()
	spans, _, _ := observed(t)
	var names []string
	ids := map[string]string{}
	for _, s := range spans {
		ids[s.SpanContext().SpanID().String()] = s.Name()
	}
	for _, s := range spans {
		names = append(names, ids[s.Parent().SpanID().String()]+" > "+s.Name()+" "+s.Status().Code.String())
	}
	slices.Sort(names)
	want := []string{
		" > invoke_agent default Unset",
		"invoke_agent default > chat priced Unset",
		"invoke_agent default > chat priced Unset",
		"invoke_agent default > execute_tool bad Error",
		"invoke_agent default > execute_tool good Unset",
		"invoke_agent default > execute_tool invented by the model Error",
	}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Error(diff)
	}
}

func TestRunTellsNoContentToTelemetry(t *testing.T) {
	t.Parallel()
	spans, metrics, logs := observed(t)
	for _, s := range spans {
		logs += fmt.Sprint(s.Name(), s.Attributes(), s.Events(), s.Status())
	}
	if all := logs + strings.Join(metrics, "\n"); strings.Contains(all, "secret") {
		t.Error(all)
	}
}

func TestRunLogsContentWhenAsked(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	r := newRunner(t, agent.Config{
		Agents:     []agent.Agent{anAgent(&script{name: "test/m", turns: []turn{{say: []string{"Hi."}}}})},
		Log:        slog.New(slog.NewJSONHandler(&log, nil)),
		LogContent: true,
	})
	if _, _, err := execute(t.Context(), t, r, agent.Request{Message: "Hello?"}); err != nil {
		t.Fatal(err)
	}
	if got := log.String(); !strings.Contains(got, `"prompt":"Hello?","answer":"Hi."`) {
		t.Error(got)
	}
}

func TestCostOfARunIsExact(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		model string
		want  string
	}{
		"of a priced model":  {"test/priced", "0.00012"},
		"of an unpriced one": {"test/other", "unknown"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := anAgent(&script{name: tt.model, turns: []turn{{say: []string{"Hi."}, usage: used(100, 10)}}})
			result, _, err := execute(t.Context(), t, newRunner(t, agent.Config{Agents: []agent.Agent{a}, Prices: prices}), agent.Request{})
			if err != nil {
				t.Fatal(err)
			}
			got := "unknown"
			if result.GetUsage().CostUsd != nil {
				got = fmt.Sprint(result.GetUsage().GetCostUsd())
			}
			if got != tt.want {
				t.Errorf("cost %s", got)
			}
		})
	}
}

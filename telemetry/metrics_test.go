package telemetry

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

func TestNamesOnAScrape(t *testing.T) {
	t.Parallel()
	tel := open(t, Options{Version: "v1.2.3"})
	meter := tel.MeterProvider.Meter("github.com/runwire/runwire/agent")
	for _, h := range [][2]string{
		{"agent.run.latency_ms", "ms"},
		{"agent.run.iterations", "{iteration}"},
		{"gen_ai.client.operation.duration", "s"},
		{"gen_ai.client.token.usage", "{token}"},
		{"rpc.server.call.duration", "s"},
	} {
		histogram, err := meter.Float64Histogram(h[0], metric.WithUnit(h[1]), metric.WithExplicitBucketBoundaries(1))
		if err != nil {
			t.Fatal(err)
		}
		histogram.Record(t.Context(), 1, metric.WithAttributes(attribute.String("gen_ai.request.model", "m")))
	}
	for _, c := range [][2]string{
		{"agent.run.success_rate", "{run}"},
		{"agent.llm.cost_usd", "USD"},
		{"agent.tool.calls_total", "{call}"},
	} {
		counter, err := meter.Float64Counter(c[0], metric.WithUnit(c[1]))
		if err != nil {
			t.Fatal(err)
		}
		counter.Add(t.Context(), 0.5)
	}
	var got []string
	for line := range strings.Lines(scrape(t, tel)) {
		name, _, _ := strings.Cut(line, " ")
		for _, prefix := range []string{"agent_", "gen_ai_", "rpc_"} {
			if strings.HasPrefix(name, prefix) {
				got = append(got, name)
			}
		}
	}
	slices.Sort(got)
	want := []string{`agent_llm_cost_usd_total`, `agent_run_success_rate_total`, `agent_tool_calls_total`}
	for _, name := range []string{
		"agent_run_iterations", "agent_run_latency_ms", "gen_ai_client_operation_duration_seconds",
		"gen_ai_client_token_usage", "rpc_server_call_duration_seconds",
	} {
		const label = `gen_ai_request_model="m"`
		want = append(want, name+`_bucket{`+label+`,le="1"}`, name+`_bucket{`+label+`,le="+Inf"}`,
			name+`_count{`+label+`}`, name+`_sum{`+label+`}`)
	}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestAnInstrumentsSeriesAreBounded(t *testing.T) {
	t.Parallel()
	tel := open(t, Options{})
	counter, err := tel.MeterProvider.Meter("test").Int64Counter("calls")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 * cardinalityLimit {
		counter.Add(t.Context(), 1, metric.WithAttributes(attribute.String("method", strconv.Itoa(i))))
	}
	text := scrape(t, tel)
	if got := strings.Count(text, "\ncalls_total{"); got != cardinalityLimit {
		t.Errorf("%d series, want %d", got, cardinalityLimit)
	}
	if want := fmt.Sprintf(`calls_total{otel_metric_overflow="true"} %d`, 2*cardinalityLimit+1); !strings.Contains(text, want) {
		t.Errorf("no %s", want)
	}
}

func TestTwoProcessesWorthOfTelemetryDoNotMeet(t *testing.T) {
	t.Parallel()
	one, other := open(t, Options{}), open(t, Options{})
	use(t.Context(), t, one)
	if strings.Contains(scrape(t, other), "agent_run") {
		t.Error("the second reports what the first measured")
	}
}

func TestMeasuringGoesOnAfterShutdown(t *testing.T) {
	t.Parallel()
	tel := open(t, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := tel.Shutdown(ctx); err != nil {
		t.Errorf("with nothing to send: %v", err)
	}
	use(t.Context(), t, tel)
	scrape(t, tel)
}

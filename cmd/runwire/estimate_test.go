package main

import (
	"strings"
	"testing"

	agentv1 "github.com/runwire/runwire/gen/agent/v1"
)

func TestEstimate(t *testing.T) {
	t.Parallel()
	asked := &agentv1.EstimateCostRequest{Message: "Hi", UserId: "ann", SessionId: "chat", Agent: "writer"}
	args := []string{"estimate", "Hi", "--user", "ann", "--session", "chat", "--agent", "writer"}
	priced := &agentv1.EstimateCostResponse{
		EstimatedCostUsd: new(0.0125), LowCostUsd: new(0.004), HighCostUsd: new(0.03),
		InputTokens: 2600, OutputTokens: 1500, Iterations: 5, Basis: agentv1.EstimateBasis_ESTIMATE_BASIS_FORMULA,
	}
	for _, e := range []exchange{
		{args, "EstimateCost", asked, priced, `cost        $0.0125
likely      $0.004 to $0.03
tokens      2600 read, 1500 written
iterations  5
basis       formula
`},
		{
			args, "EstimateCost", asked, &agentv1.EstimateCostResponse{
				InputTokens: 10, OutputTokens: 20, Iterations: 1, Basis: agentv1.EstimateBasis_ESTIMATE_BASIS_HISTORY,
			}, `cost        unknown
tokens      10 read, 20 written
iterations  1
basis       history
`,
		},
		{append(args, "--json"), "EstimateCost", asked, priced, `{"estimatedCostUsd":0.0125,"lowCostUsd":0.004,"highCostUsd":0.03,` +
			`"inputTokens":"2600","outputTokens":"1500","iterations":5,"basis":"ESTIMATE_BASIS_FORMULA"}` + "\n"},
	} {
		e.check(t)
	}
}

func TestEstimateInThisProcess(t *testing.T) {
	t.Parallel()
	code, out, said := runwire(t, "What is 2+2?", "estimate", "-")
	if code != exitOK || !strings.Contains(out, "basis       formula\n") || !strings.Contains(out, "iterations  5\n") {
		t.Errorf("exit code %d, out %q, err %q", code, out, said)
	}
	code, _, said = runwire(t, "", "estimate", "Hi", "--agent", "nobody")
	if code != exitFailed || said != "runwire: not found: no such agent \"nobody\"\n" {
		t.Errorf("exit code %d, err %q", code, said)
	}
}

package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	agentv1 "github.com/runwire/runwire/gen/agent/v1"
)

// estimateCommand says what a run would cost.
type estimateCommand struct {
	Message string `arg:"" help:"What would be said; '-' reads it from standard input."`

	Agent   string `help:"Who would answer." placeholder:"NAME"`
	User    string `help:"On whose behalf." default:"${user}"`
	Session string `help:"The conversation to go on with." placeholder:"ID"`
	JSON    bool   `name:"json" help:"Print the estimate as a JSON object."`

	Connection connection `embed:""`
}

// Run prints the estimate. A server knows how its agents ran before; an agent
// in this process has no past.
func (c *estimateCommand) Run(ctx context.Context, term terminal) error {
	message, err := readMessage(c.Message, term.in)
	if err != nil {
		return err
	}
	conn, hangUp, err := c.Connection.open(ctx, term)
	if err != nil {
		return err
	}
	estimate, err := agentv1.NewAgentServiceClient(conn).EstimateCost(ctx, &agentv1.EstimateCostRequest{
		Message: message, UserId: c.User, SessionId: c.Session, Agent: c.Agent,
	})
	if err == nil {
		err = c.show(term, estimate)
	}
	return errors.Join(outcome(ctx, term, err), hangUp())
}

func (c *estimateCommand) show(term terminal, e *agentv1.EstimateCostResponse) error {
	if c.JSON {
		return writeLine(term.out, e)
	}
	facts := newTable(term.out)
	if e.EstimatedCostUsd == nil {
		facts.row("cost", "unknown")
	} else {
		facts.row("cost", fmt.Sprintf("$%.6g", e.GetEstimatedCostUsd()))
		facts.row("likely", fmt.Sprintf("$%.6g to $%.6g", e.GetLowCostUsd(), e.GetHighCostUsd()))
	}
	facts.row("tokens", fmt.Sprintf("%d read, %d written", e.GetInputTokens(), e.GetOutputTokens()))
	facts.row("iterations", strconv.Itoa(int(e.GetIterations())))
	facts.row("basis", enumName(e.GetBasis(), "ESTIMATE_BASIS_"))
	return facts.flush()
}

package main

import (
	"context"
	"strconv"
	"strings"
	"time"

	agentv1 "github.com/runwire/runwire/gen/agent/v1"
	"google.golang.org/grpc"
)

type usageCommand struct {
	By    []string `help:"What to add up by: ${enum}." enum:"user,agent,model,day" default:"model"`
	Since moment   `help:"From when on: a duration ago such as 24h, a day of UTC, or a time. From the first call on when absent." placeholder:"WHEN"`
	Until moment   `help:"Before when, likewise. Until now when absent." placeholder:"WHEN"`
	User  string   `help:"Only this user's calls." placeholder:"ID"`
	Agent string   `help:"Only this agent's calls." placeholder:"NAME"`
	Model string   `help:"Only calls of this model." placeholder:"PROVIDER/MODEL"`
	JSON  bool     `name:"json" help:"Print the sums, a JSON object a line."`

	Remote remote `embed:""`
}

// Run prints a sum a line, and for a person that of all.
func (c *usageCommand) Run(ctx context.Context, term terminal) error {
	now := time.Now()
	request := &agentv1.GetUsageRequest{
		StartTime: c.Since.before(now), EndTime: c.Until.before(now), UserId: c.User, Agent: c.Agent, Model: c.Model,
	}
	for _, by := range c.By {
		request.GroupBy = append(request.GroupBy, agentv1.UsageGroup(agentv1.UsageGroup_value["USAGE_GROUP_"+strings.ToUpper(by)]))
	}
	return c.Remote.ask(ctx, term, func(conn grpc.ClientConnInterface) error {
		response, err := agentv1.NewUsageServiceClient(conn).GetUsage(ctx, request)
		if err != nil {
			return err
		}
		rows := newRows(term.out, c.JSON, c.head(), c.cells)
		for _, sum := range response.GetSums() {
			if err := rows.show(sum); err != nil {
				return err
			}
		}
		if !c.JSON {
			cells := c.cells(total(response.GetSums()))
			cells[0] = "total"
			rows.table.row(cells...)
		}
		return rows.flush()
	})
}

func (c *usageCommand) head() []string {
	head := make([]string, 0, len(c.By)+8)
	for _, by := range c.By {
		head = append(head, strings.ToUpper(by))
	}
	return append(head, "CALLS", "INPUT", "CACHED", "OUTPUT", "TOTAL", "COST", "UNPRICED", "ESTIMATED")
}

func (c *usageCommand) cells(sum *agentv1.UsageSum) []string {
	keys := map[string]string{"user": sum.GetUserId(), "agent": sum.GetAgent(), "model": sum.GetModel(), "day": sum.GetDay()}
	var cells []string
	for _, by := range c.By {
		cells = append(cells, keys[by])
	}
	usage := sum.GetUsage()
	for _, count := range []int64{
		usage.GetLlmCalls(), usage.GetInputTokens(), usage.GetCachedInputTokens(), usage.GetOutputTokens(), usage.GetTotalTokens(),
	} {
		cells = append(cells, strconv.FormatInt(count, 10))
	}
	return append(cells, describeCost(usage), strconv.FormatInt(sum.GetUnpricedCalls(), 10), strconv.FormatInt(sum.GetEstimatedCalls(), 10))
}

// total adds sums up.
func total(sums []*agentv1.UsageSum) *agentv1.UsageSum {
	cost := 0.0
	all := &agentv1.UsageSum{Usage: &agentv1.Usage{CostUsd: &cost}}
	for _, sum := range sums {
		usage := sum.GetUsage()
		all.Usage.LlmCalls += usage.GetLlmCalls()
		all.Usage.InputTokens += usage.GetInputTokens()
		all.Usage.CachedInputTokens += usage.GetCachedInputTokens()
		all.Usage.OutputTokens += usage.GetOutputTokens()
		all.Usage.TotalTokens += usage.GetTotalTokens()
		cost += usage.GetCostUsd()
		all.UnpricedCalls += sum.GetUnpricedCalls()
		all.EstimatedCalls += sum.GetEstimatedCalls()
	}
	return all
}

package server

import (
	"context"
	"time"

	"github.com/runwire/runwire/agent/model"
	agentv1 "github.com/runwire/runwire/gen/agent/v1"
	"github.com/runwire/runwire/store"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// usageService translates between the wire and what was paid for.
type usageService struct {
	agentv1.UnimplementedUsageServiceServer

	usage store.Usage
}

func newUsageService(usage store.Usage) *usageService { return &usageService{usage: usage} }

// usageKeys are the contract's groups in the store's words.
var usageKeys = map[agentv1.UsageGroup]store.UsageKey{
	agentv1.UsageGroup_USAGE_GROUP_USER:  store.UsageByUser,
	agentv1.UsageGroup_USAGE_GROUP_AGENT: store.UsageByAgent,
	agentv1.UsageGroup_USAGE_GROUP_MODEL: store.UsageByModel,
	agentv1.UsageGroup_USAGE_GROUP_DAY:   store.UsageByDay,
}

// GetUsage implements agentv1.UsageServiceServer.
func (s *usageService) GetUsage(ctx context.Context, req *agentv1.GetUsageRequest) (*agentv1.GetUsageResponse, error) {
	from, err := moment("start_time", req.GetStartTime())
	if err != nil {
		return nil, err
	}
	to, err := moment("end_time", req.GetEndTime())
	if err != nil {
		return nil, err
	}
	keys := make([]store.UsageKey, len(req.GetGroupBy()))
	for i, group := range req.GetGroupBy() {
		keys[i] = usageKeys[group]
	}
	sums, err := s.usage.SumUsage(ctx, store.UsageFilter{
		Tenant: tenant(ctx),
		From:   from,
		To:     to,
		UserID: req.GetUserId(),
		Agent:  req.GetAgent(),
		Model:  req.GetModel(),
	}, keys...)
	if err != nil {
		return nil, err
	}
	response := &agentv1.GetUsageResponse{}
	for _, sum := range sums {
		response.Sums = append(response.Sums, sumOf(sum))
	}
	return response, nil
}

// moment is a request's time; zero when absent.
func moment(field string, at *timestamppb.Timestamp) (time.Time, error) {
	if at == nil {
		return time.Time{}, nil
	}
	if err := at.CheckValid(); err != nil {
		return time.Time{}, invalid(field, "must be a time of the years 1 to 9999")
	}
	return at.AsTime(), nil
}

func sumOf(s store.UsageSum) *agentv1.UsageSum {
	cost := model.Money(s.CostNano).USD()
	sum := &agentv1.UsageSum{
		UserId: s.UserID,
		Agent:  s.Agent,
		Model:  s.Model,
		Usage: &agentv1.Usage{
			InputTokens:       s.InputTokens,
			CachedInputTokens: s.CachedTokens,
			CacheWriteTokens:  s.CacheWriteTokens,
			OutputTokens:      s.OutputTokens,
			TotalTokens:       s.InputTokens + s.OutputTokens,
			CostUsd:           &cost,
			LlmCalls:          s.Calls,
			Estimated:         s.Estimated > 0,
		},
		UnpricedCalls:  s.Unpriced,
		EstimatedCalls: s.Estimated,
	}
	if !s.Day.IsZero() {
		sum.Day = s.Day.Format(time.DateOnly)
	}
	return sum
}

package server

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	agentv1 "github.com/runwire/runwire/gen/agent/v1"
	"github.com/runwire/runwire/store"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// pay writes what ann and bob have used on two days, and what a rival has.
func (r *records) pay(t *testing.T) {
	t.Helper()
	cents := func(n int64) *int64 { n *= 10_000_000; return &n }
	rows := []store.UsageRow{
		{Tenant: "acme", UserID: "ann", Agent: "default", Model: "m/large", Time: march, InputTokens: 100, CachedTokens: 60, CacheWriteTokens: 10, OutputTokens: 20, CostNano: cents(5)},
		{Tenant: "acme", UserID: "ann", Agent: "writer", Model: "m/small", Time: march.Add(time.Hour), InputTokens: 10, OutputTokens: 2, CostNano: cents(1), Estimated: true},
		{Tenant: "acme", UserID: "bob", Agent: "default", Model: "local", Time: march.Add(24 * time.Hour), InputTokens: 7, OutputTokens: 3},
		{Tenant: "rival", UserID: "ann", Agent: "default", Model: "m/large", Time: march, InputTokens: 999, OutputTokens: 999, CostNano: cents(99)},
	}
	for i := range rows {
		rows[i].ID = fmt.Sprint(i)
	}
	if err := r.AppendUsage(t.Context(), rows); err != nil {
		t.Fatal(err)
	}
}

func TestUsageIsAddedUp(t *testing.T) {
	t.Parallel()
	r := keep(t)
	r.pay(t)
	ann := &agentv1.Usage{
		InputTokens: 110, CachedInputTokens: 60, CacheWriteTokens: 10, OutputTokens: 22, TotalTokens: 132, LlmCalls: 2,
		CostUsd: new(0.06), Estimated: true,
	}
	bob := &agentv1.Usage{InputTokens: 7, OutputTokens: 3, TotalTokens: 10, LlmCalls: 1, CostUsd: new(0.0)}
	both := &agentv1.Usage{
		InputTokens: 117, CachedInputTokens: 60, CacheWriteTokens: 10, OutputTokens: 25, TotalTokens: 142, LlmCalls: 3,
		CostUsd: new(0.06), Estimated: true,
	}
	for name, test := range map[string]struct {
		request *agentv1.GetUsageRequest
		want    []*agentv1.UsageSum
	}{
		"of all": {
			request: &agentv1.GetUsageRequest{},
			want:    []*agentv1.UsageSum{{Usage: both, UnpricedCalls: 1, EstimatedCalls: 1}},
		},
		"by day and user": {
			request: &agentv1.GetUsageRequest{GroupBy: []agentv1.UsageGroup{
				agentv1.UsageGroup_USAGE_GROUP_DAY, agentv1.UsageGroup_USAGE_GROUP_USER,
			}},
			want: []*agentv1.UsageSum{
				{UserId: "ann", Day: "2026-03-01", Usage: ann, EstimatedCalls: 1},
				{UserId: "bob", Day: "2026-03-02", Usage: bob, UnpricedCalls: 1},
			},
		},
		"by agent and model, of a day": {
			request: &agentv1.GetUsageRequest{
				GroupBy:   []agentv1.UsageGroup{agentv1.UsageGroup_USAGE_GROUP_AGENT, agentv1.UsageGroup_USAGE_GROUP_MODEL},
				StartTime: timestamppb.New(march.Add(24 * time.Hour)), EndTime: timestamppb.New(march.Add(25 * time.Hour)),
			},
			want: []*agentv1.UsageSum{{Agent: "default", Model: "local", Usage: bob, UnpricedCalls: 1}},
		},
		"before an end that does not count": {
			request: &agentv1.GetUsageRequest{EndTime: timestamppb.New(march.Add(24 * time.Hour))},
			want:    []*agentv1.UsageSum{{Usage: ann, EstimatedCalls: 1}},
		},
		"of a user, an agent and a model": {
			request: &agentv1.GetUsageRequest{UserId: "bob", Agent: "default", Model: "local"},
			want:    []*agentv1.UsageSum{{Usage: bob, UnpricedCalls: 1}},
		},
		"of nobody": {request: &agentv1.GetUsageRequest{UserId: "carol"}},
	} {
		response, err := r.usage.GetUsage(with(t, "acme admin"), test.request)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff(&agentv1.GetUsageResponse{Sums: test.want}, response, protocmp.Transform()); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestUsageIsForAdministrators(t *testing.T) {
	t.Parallel()
	r := keep(t)
	_, err := r.usage.GetUsage(with(t, "acme run"), &agentv1.GetUsageRequest{})
	wantError(t, err, codes.PermissionDenied, "`admin`",
		&errdetails.ErrorInfo{Reason: "SCOPE_MISSING", Domain: "runwire", Metadata: map[string]string{"scope": "admin"}})
}

func TestUsageOfATimeThatIsNoneIsRefused(t *testing.T) {
	t.Parallel()
	r := keep(t)
	never := &timestamppb.Timestamp{Seconds: math.MaxInt64}
	const description = "must be a time of the years 1 to 9999"
	_, err := r.usage.GetUsage(with(t, "acme admin"), &agentv1.GetUsageRequest{StartTime: never})
	wantError(t, err, codes.InvalidArgument, "start_time", wrong("start_time", description))
	_, err = r.usage.GetUsage(with(t, "acme admin"), &agentv1.GetUsageRequest{EndTime: never})
	wantError(t, err, codes.InvalidArgument, "end_time", wrong("end_time", description))
}

package server

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/runwire/runwire/agent/model"
	"github.com/runwire/runwire/config"
	agentv1 "github.com/runwire/runwire/gen/agent/v1"
	"github.com/runwire/runwire/store"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/testing/protocmp"
)

// priced is a server whose default agent's model costs something and whose
// users may start one run, with what db holds.
func priced(t *testing.T, fill func(db *store.DB)) agentv1.AgentServiceClient {
	t.Helper()
	return agentv1.NewAgentServiceClient(serve(t, func(cfg *Config) {
		db, err := store.OpenSQLite(t.Context(), filepath.Join(cfg.DataDir, "runwire.db"), store.Options{})
		if err != nil {
			t.Fatal(err)
		}
		fill(db)
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		answering := offlineAgent("default", config.OfflineOptions{})
		answering.MaxHistoryTokens = 10_000
		free := offlineAgent("free", config.OfflineOptions{})
		free.Models, free.Tools = []string{"test/unknown"}, nil
		cfg.File = file(answering, free)
		cfg.File.Providers = []config.Provider{{Name: "test", Type: config.OpenAI, BaseURL: "http://127.0.0.1:1", Timeout: time.Second}}
		cfg.File.Prices = map[string]model.Price{config.Offline: {Input: model.Dollar, CachedInput: model.Dollar, Output: 2 * model.Dollar}}
		cfg.RateLimit = 1
	}).dial(t))
}

func estimating(t *testing.T, client agentv1.AgentServiceClient, req *agentv1.EstimateCostRequest) *agentv1.EstimateCostResponse {
	t.Helper()
	response, err := client.EstimateCost(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	return response
}

// Many estimates and the one run that the limit allows, whose cost they say.
func TestEstimatesRestOnTheAgentsRuns(t *testing.T) {
	t.Parallel()
	client := priced(t, func(db *store.DB) {
		var rows []store.UsageRow
		for run := range 20 {
			for call := range 2 {
				rows = append(rows, store.UsageRow{
					Tenant: "default", ID: fmt.Sprintf("%d-%d", run, call), RunID: fmt.Sprint(run), Agent: "default",
					Model: config.Offline, Time: march.Add(time.Duration(run) * time.Minute),
					InputTokens: int64(1000 + 100*call), OutputTokens: 50,
				})
			}
		}
		if err := db.AppendUsage(t.Context(), rows); err != nil {
			t.Fatal(err)
		}
	})
	short := estimating(t, client, &agentv1.EstimateCostRequest{Message: "Hi", UserId: "ann"})
	long := estimating(t, client, &agentv1.EstimateCostRequest{Message: "Hi and hi and hi", UserId: "ann"})
	if more := long.GetInputTokens() - short.GetInputTokens(); more != 2*4 {
		t.Errorf("four words more, read twice, are %d tokens", more)
	}
	cost := (float64(short.GetInputTokens()) + 2*100) / 1e6
	if got := short.GetEstimatedCostUsd(); got < cost-1e-9 || got > cost+1e-9 || short.GetLowCostUsd() >= got || short.GetHighCostUsd() <= got {
		t.Errorf("costs %v, %v to %v; want %v", got, short.GetLowCostUsd(), short.GetHighCostUsd(), cost)
	}
	if short.GetIterations() != 2 || short.GetOutputTokens() != 100 || short.GetBasis() != agentv1.EstimateBasis_ESTIMATE_BASIS_HISTORY {
		t.Errorf("the estimate is %v", short)
	}
	if _, err := client.Run(t.Context(), &agentv1.RunRequest{Message: "Hi", UserId: "ann"}); err != nil {
		t.Errorf("estimates counted against the limit: %v", err)
	}
}

func TestEstimatesReadTheSession(t *testing.T) {
	t.Parallel()
	client := priced(t, func(db *store.DB) {
		err := db.AppendTurn(t.Context(), store.Turn{
			Tenant: "default", SessionID: "chat", UserID: "ann", Messages: []store.Message{{Tokens: 700}, {Tokens: 300}},
		})
		if err != nil {
			t.Fatal(err)
		}
	})
	ask := func(session string) *agentv1.EstimateCostResponse {
		return estimating(t, client, &agentv1.EstimateCostRequest{Message: "Hi", UserId: "ann", SessionId: session})
	}
	first, known := ask(""), ask("chat")
	if known.GetInputTokens()-first.GetInputTokens() != 5*1000 {
		t.Errorf("%d tokens with the session, %d without", known.GetInputTokens(), first.GetInputTokens())
	}
	if diff := cmp.Diff(first, ask("another"), protocmp.Transform()); diff != "" {
		t.Errorf("a session that nobody has yet: %s", diff)
	}
	_, err := client.EstimateCost(t.Context(), &agentv1.EstimateCostRequest{Message: "Hi", UserId: "bob", SessionId: "chat"})
	wantError(t, err, codes.NotFound, "session", noSession("chat"))
}

func TestEstimatesOfWhatCannotBeEstimated(t *testing.T) {
	t.Parallel()
	client := priced(t, func(*store.DB) {})
	free := estimating(t, client, &agentv1.EstimateCostRequest{Message: "Hi", UserId: "ann", Agent: "free"})
	want := &agentv1.EstimateCostResponse{
		InputTokens: free.GetInputTokens(), OutputTokens: 300, Iterations: 1, Basis: agentv1.EstimateBasis_ESTIMATE_BASIS_FORMULA,
	}
	if diff := cmp.Diff(want, free, protocmp.Transform()); diff != "" || free.GetInputTokens() == 0 {
		t.Errorf("of a model without a price: %s", diff)
	}
	_, err := client.EstimateCost(t.Context(), &agentv1.EstimateCostRequest{Message: "Hi", UserId: "ann", Agent: "nobody"})
	if err == nil {
		t.Error("an agent that is none was estimated")
	}
	_, err = client.EstimateCost(t.Context(), &agentv1.EstimateCostRequest{UserId: "ann"})
	if err == nil {
		t.Error("no message was estimated")
	}
}

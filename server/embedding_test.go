package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/runwire/runwire/agent/model"
	"github.com/runwire/runwire/agent/tool"
	"github.com/runwire/runwire/config"
	agentv1 "github.com/runwire/runwire/gen/agent/v1"
)

// embeds is a provider whose embedding model knows that tea is a drink, and
// whose chat model keeps the last message that it was told.
type embeds struct {
	mu   sync.Mutex
	told string
}

func (e *embeds) answer(w http.ResponseWriter, r *http.Request) {
	var request struct {
		Input    []string
		Messages []struct{ Content string }
	}
	if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if r.URL.Path != "/embeddings" {
		e.mu.Lock()
		e.told = request.Messages[len(request.Messages)-1].Content
		e.mu.Unlock()
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, `data: {"choices":[{"index":0,"delta":{"content":"Tea."},"finish_reason":"stop"}]}`, "\n\n")
		fmt.Fprint(w, `data: {"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":3}}`, "\n\ndata: [DONE]\n\n")
		return
	}
	data := make([]string, len(request.Input))
	for i, text := range request.Input {
		vector := "[0, 1]"
		if strings.Contains(text, "tea") || strings.Contains(text, "drink") {
			vector = "[1, 0]"
		}
		data[i] = fmt.Sprintf(`{"index": %d, "embedding": %s}`, i, vector)
	}
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"data": [%s], "usage": {"prompt_tokens": %d}}`, strings.Join(data, ","), 10*len(data))
}

// A note is found by its meaning by clients and by runs, each search is paid
// for, and an estimate is not.
func TestNotesAreFoundByTheirMeaning(t *testing.T) {
	t.Parallel()
	e := &embeds{}
	f := provided(t, e.answer)
	f.Agents[0].Tools, f.Agents[0].MemoryTokens = nil, 1_000
	f.Memory = config.Memory{EmbeddingModel: "test/small", MinSimilarity: 0.3}
	f.Prices = map[string]model.Price{"test/small": {Input: model.Dollar}}
	conn := serve(t, func(cfg *Config) { cfg.File = f }).dial(t)
	memories := agentv1.NewMemoryServiceClient(conn)
	for _, text := range []string{"I like tea.", "I have a cat."} {
		if _, err := memories.SaveMemory(t.Context(), &agentv1.SaveMemoryRequest{UserId: "ann", Text: text}); err != nil {
			t.Fatal(err)
		}
	}
	search := func(query string) []*agentv1.Memory {
		t.Helper()
		found, err := memories.SearchMemories(t.Context(), &agentv1.SearchMemoriesRequest{UserId: "ann", Query: query})
		if err != nil {
			t.Fatal(err)
		}
		return found.GetMemories()
	}
	for len(search("Something to drink?")) == 0 { // until its vector is there
		if t.Context().Err() != nil {
			t.Fatal("it is not found")
		}
	}
	if found := search("drink"); len(found) != 1 || found[0].GetText() != "I like tea." {
		t.Errorf("found %v", found)
	}
	usage := func() *agentv1.Usage {
		t.Helper()
		got, err := agentv1.NewUsageServiceClient(conn).GetUsage(t.Context(), &agentv1.GetUsageRequest{UserId: "ann", Agent: "memory", Model: "test/small"})
		if err != nil || len(got.GetSums()) != 1 {
			t.Fatalf("%v, %v", got, err)
		}
		return got.GetSums()[0].GetUsage()
	}
	before := usage()
	agents := agentv1.NewAgentServiceClient(conn)
	if _, err := agents.EstimateCost(t.Context(), &agentv1.EstimateCostRequest{Message: "What do I drink?", UserId: "ann"}); err != nil {
		t.Error(err)
	}
	if got := usage().GetLlmCalls(); got != before.GetLlmCalls() {
		t.Errorf("%d calls are paid for after an estimate, %d before", got, before.GetLlmCalls())
	}
	if _, err := agents.Run(t.Context(), &agentv1.RunRequest{Message: "What could we drink?", UserId: "ann"}); err != nil {
		t.Fatal(err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if want := tool.QuoteNotes([]string{"I like tea."}) + "\n\nWhat could we drink?"; e.told != want {
		t.Errorf("the model was told %q, want %q", e.told, want)
	}
	after := usage()
	if calls, tokens := after.GetLlmCalls()-before.GetLlmCalls(), after.GetInputTokens()-before.GetInputTokens(); calls != 1 || tokens != 10 {
		t.Errorf("the run's search is %d calls of %d tokens", calls, tokens)
	}
	if want := float64(after.GetInputTokens()) / 1e6; after.GetCostUsd() != want {
		t.Errorf("it cost %v, want %v", after.GetCostUsd(), want)
	}
}

func TestAnEmbeddingModelNeedsItsProvider(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	cfg.Listen, cfg.HTTPListen = "127.0.0.1:0", ""
	cfg.File = file(offlineAgent("default", config.OfflineOptions{}))
	cfg.File.Memory.EmbeddingModel = "nobody/small"
	if _, err := New(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), `no provider "nobody"`) {
		t.Errorf("got %v", err)
	}
}

package server

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/runwire/runwire/agent/model/modeltest"
	agentv1 "github.com/runwire/runwire/gen/agent/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// What the provider answers, by the user's message and the model.
const providerFixtures = `{"fixtures": [
	{"match": {"model": "down"}, "response": {
		"status": 529, "error": {"type": "overloaded_error", "message": "Overloaded."}}},
	{"match": {"userMessage": "2+2", "hasToolResult": false}, "response": {
		"content": "Let me see.", "toolCalls": [{"name": "calculator", "arguments": {"expression": "2+2"}}],
		"usage": {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}}},
	{"match": {"userMessage": "2+2", "toolResultContains": "4"}, "response": {
		"content": "2+2 is 4, as it has ever been.",
		"usage": {"prompt_tokens": 2000, "completion_tokens": 50, "total_tokens": 2050}}},
	{"match": {"userMessage": "much"}, "response": {
		"status": 400, "error": {"type": "invalid_request_error", "message": "Too long."}}}
]}`

// Whole servers whose models are at a provider that nobody here wrote.
func TestProvidersOverTheWire(t *testing.T) {
	t.Parallel()
	address := modeltest.Provider(t, providerFixtures)
	path := filepath.Join(t.TempDir(), "runwire.yaml")
	if err := os.WriteFile(path, []byte(`
providers:
  local: {type: openai, base_url: `+address+`/v1, api_key: `+modeltest.Key+`, max_retries: 0}
  other: {type: anthropic, base_url: `+address+`, api_key: `+modeltest.Key+`, max_retries: 0}
prices:
  local/m: {input: 1, output: 10}
  other/m: {input: 1, output: 10}
agents:
  default: {model: local/m, tools: [calculator]}
  claude: {model: other/m, tools: [calculator]}
  helped: {model: [local/down, other/m], tools: [calculator]}
  helpless: {model: other/down}
`), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := LoadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f := serve(t, func(cfg *Config) { cfg.File = file })
	client := agentv1.NewAgentServiceClient(f.dial(t))
	for name, answering := range map[string]string{"default": "local/m", "claude": "other/m", "helped": "other/m"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			response, err := client.Run(t.Context(), &agentv1.RunRequest{Message: "What is 2+2?", UserId: "alice", Agent: name})
			if err != nil {
				t.Fatal(err)
			}
			mustHaveCalculated(t, response.GetResult(), answering)
			stream, err := client.StreamRun(t.Context(), &agentv1.StreamRunRequest{Message: "What is 2+2?", UserId: "alice", Agent: name})
			if err != nil {
				t.Fatal(err)
			}
			var text strings.Builder
			var pieces int
			for {
				response, err := stream.Recv()
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				switch event := response.GetEvent(); {
				case event.GetTextDelta() != nil:
					text.WriteString(event.GetTextDelta().GetText())
					pieces += 1 + int(event.GetMerged())
				case event.GetToolCallStarted() != nil:
					text.Reset()
					pieces = 0
				case event.GetFinished() != nil:
					mustHaveCalculated(t, event.GetFinished().GetResult(), answering)
				}
			}
			if text.String() != "2+2 is 4, as it has ever been." || pieces < 2 {
				t.Errorf("streamed %q in %d pieces", &text, pieces)
			}
		})
	}
	t.Run("a provider that is down", func(t *testing.T) {
		t.Parallel()
		_, err := client.Run(t.Context(), &agentv1.RunRequest{Message: "What is 2+2?", UserId: "alice", Agent: "helpless"})
		if status.Code(err) != codes.Unavailable {
			t.Errorf("it says %v", err)
		}
	})
	t.Run("a request that it refuses", func(t *testing.T) {
		t.Parallel()
		response, err := client.Run(t.Context(), &agentv1.RunRequest{Message: "Too much.", UserId: "alice"})
		if err != nil {
			t.Fatal(err)
		}
		got := response.GetResult()
		if got.GetStopReason() != agentv1.StopReason_STOP_REASON_MODEL_ERROR || got.GetError() != "model local/m rejected the request" {
			t.Errorf("the result is %v", got)
		}
	})
}

func mustHaveCalculated(t *testing.T, got *agentv1.RunResult, answering string) {
	t.Helper()
	if !got.GetSuccess() || got.GetContent() != "2+2 is 4, as it has ever been." || got.GetModel() != answering ||
		!slices.Equal(got.GetToolCallsMade(), []string{"calculator"}) {
		t.Errorf("the result is %v", got)
	}
	if u := got.GetUsage(); u.GetInputTokens() != 3000 || u.GetOutputTokens() != 150 || u.GetCostUsd() != 0.0045 || u.GetEstimated() {
		t.Errorf("the usage is %v", u)
	}
}

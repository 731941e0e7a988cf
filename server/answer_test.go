package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/runwire/runwire/config"
	agentv1 "github.com/runwire/runwire/gen/agent/v1"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const citySchema = `{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}`

// echoing is a server whose model says the first message back, word for word.
func echoing(t *testing.T) agentv1.AgentServiceClient {
	t.Helper()
	provider := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var asked struct {
			Messages []struct{ Role, Content string }
		}
		if err := json.NewDecoder(r.Body).Decode(&asked); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		said, _ := json.Marshal(asked.Messages[1].Content) // behind the system prompt
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprintf(w, "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":%s},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n", said)
	}))
	t.Cleanup(provider.Close)
	f := serve(t, func(cfg *Config) {
		a := offlineAgent("default", config.OfflineOptions{})
		a.SystemPrompt, a.Models, a.Tools = "Be brief.", []string{"local/m"}, nil
		cfg.File = file(a)
		cfg.File.Providers = []config.Provider{{Name: "local", Type: config.OpenAI, BaseURL: provider.URL, Timeout: time.Minute}}
	})
	return agentv1.NewAgentServiceClient(f.dial(t))
}

// An answer fits its schema, or the result says why it does not, whichever way
// it was asked for.
func TestResponseSchema(t *testing.T) {
	t.Parallel()
	client := echoing(t)
	for way, ask := range map[string]func(message string) (*agentv1.RunResult, error){
		"Run": func(message string) (*agentv1.RunResult, error) {
			response, err := client.Run(t.Context(), &agentv1.RunRequest{Message: message, UserId: "alice", ResponseSchema: citySchema})
			return response.GetResult(), err
		},
		"StreamRun": func(message string) (*agentv1.RunResult, error) {
			stream, err := client.StreamRun(t.Context(), &agentv1.StreamRunRequest{Message: message, UserId: "alice", ResponseSchema: citySchema})
			if err != nil {
				return nil, err
			}
			return rest(stream)
		},
		"SubmitTask": func(message string) (*agentv1.RunResult, error) {
			response, err := client.SubmitTask(t.Context(), &agentv1.SubmitTaskRequest{Message: message, UserId: "alice", ResponseSchema: citySchema})
			if err != nil {
				return nil, err
			}
			events, err := watch(t.Context(), client, response.GetTask().GetTaskId(), 0)
			if err != nil {
				return nil, err
			}
			return events[len(events)-1].GetFinished().GetResult(), nil
		},
	} {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			got, err := ask(`{"city": "Oslo"}`)
			if err != nil || !got.GetSuccess() || got.GetContent() != `{"city": "Oslo"}` || got.GetIterations() != 1 {
				t.Errorf("an answer that fits: %v, %v", got, err)
			}
			const why = "the answer does not fit response_schema: "
			for message, wrong := range map[string]string{
				`{"town": "Oslo"}`: "city",
				`Oslo, I think.`:   "not valid JSON",
			} {
				got, err := ask(message)
				if err != nil || got.GetSuccess() || got.GetStopReason() != agentv1.StopReason_STOP_REASON_MODEL_ERROR ||
					!strings.HasPrefix(got.GetError(), why) || !strings.Contains(got.GetError(), wrong) || got.GetIterations() != 3 {
					t.Errorf("%s: %v, %v", message, got, err)
				}
			}
		})
	}
}

func TestAResponseSchemaThatCannotBeIsRefused(t *testing.T) {
	t.Parallel()
	client := agentv1.NewAgentServiceClient(serve(t, nil).dial(t))
	for name, schema := range map[string]string{
		"no JSON":             `{"type":`,
		"no schema":           `{"type": "citty"}`,
		"longer than allowed": `{"description": "` + strings.Repeat("x", 100_000) + `"}`,
	} {
		_, running := client.Run(t.Context(), &agentv1.RunRequest{Message: "Hello?", UserId: "alice", ResponseSchema: schema})
		stream, streaming := client.StreamRun(t.Context(), &agentv1.StreamRunRequest{Message: "Hello?", UserId: "alice", ResponseSchema: schema})
		if streaming == nil {
			_, streaming = stream.Recv()
		}
		_, submitting := client.SubmitTask(t.Context(), &agentv1.SubmitTaskRequest{Message: "Hello?", UserId: "alice", ResponseSchema: schema})
		for way, err := range map[string]error{"Run": running, "StreamRun": streaming, "SubmitTask": submitting} {
			told := status.Convert(err)
			field := ""
			for _, detail := range told.Details() {
				if bad, ok := detail.(*errdetails.BadRequest); ok && len(bad.GetFieldViolations()) == 1 {
					field = bad.GetFieldViolations()[0].GetField()
				}
			}
			if told.Code() != codes.InvalidArgument || field != "response_schema" {
				t.Errorf("%s, %s: %v, field %q", name, way, err, field)
			}
		}
	}
}

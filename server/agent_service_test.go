package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/runwire/runwire/agent/model"
	"github.com/runwire/runwire/config"
	agentv1 "github.com/runwire/runwire/gen/agent/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// calling is a way to run an agent; both must end alike.
type calling func(context.Context, agentv1.AgentServiceClient, *agentv1.RunRequest) (*agentv1.RunResult, error)

func callings() map[string]calling {
	return map[string]calling{"Run": callRun, "StreamRun": callStreamRun}
}

func callRun(ctx context.Context, c agentv1.AgentServiceClient, req *agentv1.RunRequest) (*agentv1.RunResult, error) {
	response, err := c.Run(ctx, req)
	return response.GetResult(), err
}

func callStreamRun(ctx context.Context, c agentv1.AgentServiceClient, req *agentv1.RunRequest) (*agentv1.RunResult, error) {
	stream, err := c.StreamRun(ctx, &agentv1.StreamRunRequest{
		Message: req.GetMessage(), UserId: req.GetUserId(), SessionId: req.GetSessionId(), Agent: req.GetAgent(),
		MaxTokens: req.GetMaxTokens(), MaxCostUsd: req.GetMaxCostUsd(),
	})
	var result *agentv1.RunResult
	for err == nil {
		var response *agentv1.StreamRunResponse
		if response, err = stream.Recv(); err == nil {
			result = response.GetEvent().GetFinished().GetResult()
		}
	}
	if errors.Is(err, io.EOF) {
		return result, nil
	}
	return nil, err
}

// provided is a configuration whose default agent asks a provider that answers so.
func provided(t *testing.T, answer http.HandlerFunc) *config.File {
	t.Helper()
	provider := httptest.NewServer(answer)
	t.Cleanup(provider.Close)
	a := offlineAgent("default", config.OfflineOptions{})
	a.Models = []string{"test/model"}
	f := file(a)
	f.Providers = []config.Provider{{Name: "test", Type: config.OpenAI, BaseURL: provider.URL, Timeout: time.Minute}}
	return f
}

// impatient makes the provider's time short.
func impatient(f *config.File) *config.File {
	f.Providers[0].Timeout = 50 * time.Millisecond
	return f
}

func TestBothWaysOfRunningEndAlike(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		file    *config.File
		request *agentv1.RunRequest

		code codes.Code
		want string // of the result, or of the error
	}{
		"with an answer": {
			request: &agentv1.RunRequest{Message: "What is 6*7?", UserId: "alice"},
			want:    "COMPLETED calculator 42",
		},
		"without the agent": {
			request: &agentv1.RunRequest{Message: "Hello?", UserId: "alice", Agent: "none"},
			code:    codes.NotFound, want: `no such agent [resource_type:"agent" resource_name:"none"]`,
		},
		"without tokens": {
			request: &agentv1.RunRequest{Message: "Hello?", UserId: "alice", MaxTokens: 1},
			want:    "TOKEN_BUDGET budget of 1 tokens",
		},
		"without a model that answers": {
			file: provided(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Retry-After", "7")
				w.WriteHeader(http.StatusServiceUnavailable)
				fmt.Fprint(w, `{"error":{"message":"secret"}}`)
			}),
			request: &agentv1.RunRequest{Message: "Hello?", UserId: "alice"},
			code:    codes.Unavailable, want: "no model answered [retry_delay:{seconds:7}]",
		},
		"without a model that says anything": {
			file: impatient(provided(t, func(_ http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body) // so that the end of the connection is seen
				<-r.Context().Done()
			})),
			request: &agentv1.RunRequest{Message: "Hello?", UserId: "alice"},
			code:    codes.Unavailable, want: "no model answered [retry_delay:{seconds:5}]",
		},
		"with a request that the provider rejects": {
			file: provided(t, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(http.StatusBadRequest)
				fmt.Fprint(w, `{"error":{"message":"secret"}}`)
			}),
			request: &agentv1.RunRequest{Message: "Hello?", UserId: "alice"},
			want:    "MODEL_ERROR rejected",
		},
		"with half an answer": {
			file: provided(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "text/event-stream")
				fmt.Fprint(w, `data: {"choices":[{"index":0,"delta":{"content":"Half an"}}]}`, "\n\n")
			}),
			request: &agentv1.RunRequest{Message: "Hello?", UserId: "alice"},
			want:    "MODEL_ERROR Half an",
		},
	}
	for name, tt := range tests {
		for way, call := range callings() {
			t.Run(name+" from "+way, func(t *testing.T) {
				t.Parallel()
				f := serve(t, func(c *Config) {
					if tt.file != nil {
						c.File = tt.file
					}
				})
				result, err := call(t.Context(), agentv1.NewAgentServiceClient(f.dial(t)), tt.request)
				if status.Code(err) != tt.code {
					t.Fatalf("%v, %v", result, err)
				}
				got := fmt.Sprint(result.GetStopReason(), result.GetToolCallsMade(), result.GetContent(), result.GetError())
				if err != nil {
					got = strings.ReplaceAll(fmt.Sprint(status.Convert(err).Message(), " ", status.Convert(err).Details()), "  ", " ")
				}
				for _, part := range strings.SplitAfter(tt.want, " ") {
					if err == nil && !strings.Contains(got, strings.TrimSpace(part)) {
						t.Errorf("%s\nlacks %s", got, part)
					}
				}
				if err != nil && got != tt.want {
					t.Errorf("got  %s\nwant %s", got, tt.want)
				}
				if strings.Contains(got, "secret") {
					t.Errorf("the provider is quoted: %s", got)
				}
			})
		}
	}
}

func TestACallerThatLeavesCancelsTheModelCall(t *testing.T) {
	t.Parallel()
	for way, call := range callings() {
		t.Run("of "+way, func(t *testing.T) {
			t.Parallel()
			asked, left := make(chan struct{}), make(chan struct{})
			f := serve(t, func(c *Config) {
				c.File = provided(t, func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("Content-Type", "text/event-stream")
					fmt.Fprint(w, `data: {"choices":[{"index":0,"delta":{"content":"Hello"}}]}`, "\n\n")
					_ = http.NewResponseController(w).Flush()
					close(asked)
					<-r.Context().Done()
					close(left)
				})
			})
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() {
				_, err := call(ctx, agentv1.NewAgentServiceClient(f.dial(t)), &agentv1.RunRequest{Message: "Hello?", UserId: "alice"})
				ended <- err
			}()
			<-asked
			cancel()
			<-left // the provider sees it
			if err := <-ended; status.Code(err) != codes.Canceled {
				t.Error(err)
			}
			f.log.wait(t, `"CANCELLED"`)
		})
	}
}

func TestAgentsAreListed(t *testing.T) {
	t.Parallel()
	f := serve(t, func(c *Config) {
		c.File = file(offlineAgent("b", config.OfflineOptions{}), offlineAgent("a", config.OfflineOptions{}))
		c.File.Agents[0].Description = "The second."
	})
	response, err := agentv1.NewAgentServiceClient(f.dial(t)).ListAgents(t.Context(), &agentv1.ListAgentsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, a := range response.GetAgents() {
		got = append(got, fmt.Sprint(a.GetName(), " ", a.GetModel(), " ", a.GetDescription(), " ", a.GetTools()))
	}
	want := []string{"a offline  [calculator current_time]", "b offline The second. [calculator current_time]"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestDollarsBecomeNanoDollars(t *testing.T) {
	t.Parallel()
	for usd, want := range map[float64]model.Money{
		0: 0, 0.5: model.Dollar / 2, 1e-9: 1, 1e-12: 1, 1e300: math.MaxInt64, 2.5: 5 * model.Dollar / 2,
	} {
		if got := model.FromUSD(usd); got != want {
			t.Errorf("%v dollars are %d, want %d", usd, got, want)
		}
	}
}

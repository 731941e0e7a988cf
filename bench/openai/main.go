// Command openai is what a model call through Runwire is measured against: the
// same contract served by grpc-go, whose handler asks the same of the provider
// with its own client and nothing else. It must stay the least that can answer.
package main

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	agentv1 "github.com/runwire/runwire/gen/agent/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"
)

type service struct {
	agentv1.UnimplementedAgentServiceServer

	client openai.Client
}

// Run asks the model of the agent's name.
func (s service) Run(ctx context.Context, req *agentv1.RunRequest) (*agentv1.RunResponse, error) {
	begin := time.Now()
	model := cmp.Or(req.GetAgent(), "words-1")
	stream := s.client.Chat.Completions.NewStreaming(ctx, openai.ChatCompletionNewParams{
		Model:         model,
		Messages:      []openai.ChatCompletionMessageParamUnion{openai.UserMessage(req.GetMessage())},
		MaxTokens:     openai.Int(4096),
		StreamOptions: openai.ChatCompletionStreamOptionsParam{IncludeUsage: openai.Bool(true)},
	})
	var text strings.Builder
	var used openai.CompletionUsage
	for stream.Next() {
		chunk := stream.Current()
		for i := range chunk.Choices {
			text.WriteString(chunk.Choices[i].Delta.Content)
		}
		if chunk.Usage.TotalTokens > 0 {
			used = chunk.Usage
		}
	}
	if err := stream.Err(); err != nil {
		return nil, err
	}
	return &agentv1.RunResponse{Result: &agentv1.RunResult{
		RunId: "run_0", SessionId: "sess_0", Agent: "openai", Model: model,
		Content: text.String(), Success: true, StopReason: agentv1.StopReason_STOP_REASON_COMPLETED, Iterations: 1,
		Usage: &agentv1.Usage{
			InputTokens: used.PromptTokens, OutputTokens: used.CompletionTokens, TotalTokens: used.TotalTokens, LlmCalls: 1,
		},
		Latency: durationpb.New(time.Since(begin)),
	}}, nil
}

func main() {
	listener, err := net.Listen("tcp", os.Args[1])
	if err == nil {
		server := grpc.NewServer()
		agentv1.RegisterAgentServiceServer(server, service{client: openai.NewClient(
			option.WithBaseURL(os.Args[2]), option.WithAPIKey("none"),
			// Connections are kept for every caller, as Runwire keeps them.
			option.WithHTTPClient(&http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 256}}),
		)})
		err = server.Serve(listener)
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

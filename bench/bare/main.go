// Command bare is what Runwire is measured against: the same contract served
// by grpc-go with nothing on it, from constants. It must stay the least that
// can answer.
package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	agentv1 "github.com/runwire/runwire/gen/agent/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

const word = "word "

type service struct {
	agentv1.UnimplementedAgentServiceServer
}

// Run answers with 64 words.
func (service) Run(context.Context, *agentv1.RunRequest) (*agentv1.RunResponse, error) {
	return &agentv1.RunResponse{Result: &agentv1.RunResult{
		RunId: "run_0", SessionId: "sess_0", Agent: "bare", Model: "none",
		Content: strings.Repeat(word, 64), Success: true, StopReason: agentv1.StopReason_STOP_REASON_COMPLETED,
		Iterations: 1, Usage: &agentv1.Usage{InputTokens: 10, OutputTokens: 64, TotalTokens: 74, LlmCalls: 1},
		Latency: durationpb.New(time.Millisecond),
	}}, nil
}

// StreamRun streams 256 words as fast as they are taken, or, for the agent
// `slow`, a word a second until the client leaves.
func (service) StreamRun(req *agentv1.StreamRunRequest, stream grpc.ServerStreamingServer[agentv1.StreamRunResponse]) error {
	if req.GetAgent() != "slow" {
		for i := range int64(256) {
			if err := send(stream, i); err != nil {
				return err
			}
		}
		return nil
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for i := int64(0); ; i++ {
		select {
		case <-tick.C:
			if err := send(stream, i); err != nil {
				return err
			}
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}

func send(stream grpc.ServerStreamingServer[agentv1.StreamRunResponse], i int64) error {
	return stream.Send(&agentv1.StreamRunResponse{Event: &agentv1.RunEvent{
		Sequence: i + 1, CreateTime: timestamppb.Now(),
		Event: &agentv1.RunEvent_TextDelta{TextDelta: &agentv1.TextDelta{Text: word}},
	}})
}

func main() {
	listener, err := net.Listen("tcp", os.Args[1])
	if err == nil {
		server := grpc.NewServer()
		agentv1.RegisterAgentServiceServer(server, service{})
		err = server.Serve(listener)
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

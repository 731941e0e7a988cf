package interceptors

import (
	"context"
	"fmt"
	"log/slog"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	agentv1 "github.com/runwire/runwire/gen/agent/v1"
)

// A caller that goes away ends its call; that is nobody's fault.
func TestCancelledCall(t *testing.T) {
	t.Parallel()
	for kind, call := range callers() {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			log := newLines()
			ctx, cancel := context.WithCancel(t.Context())
			conn := serve(t, Config{Log: slog.New(log)}, agents{run: func(ctx context.Context, _ string) error {
				cancel()
				<-ctx.Done()
				return fmt.Errorf("asking the model: %w", ctx.Err())
			}})
			if err := call(ctx, conn, request(t, "hello", "alice")); status.Code(err) != codes.Canceled {
				t.Errorf("caller got %v, want CANCELLED", err)
			}
			wantLine(t, <-log, slog.LevelInfo, codes.Canceled, map[string]string{"tenant": "default", "user": "alice"})
		})
	}
}

// A stream whose caller is gone fails to send; that is a cancellation and not an error of ours.
func TestSendingToACallerThatIsGone(t *testing.T) {
	t.Parallel()
	log := newLines()
	options, err := ServerOptions(Config{Log: slog.New(log)})
	if err != nil {
		t.Fatal(err)
	}
	conn := serveWith(t, endless{}, options)
	ctx, cancel := context.WithCancel(t.Context())
	stream, err := agentv1.NewAgentServiceClient(conn).StreamRun(ctx, &agentv1.StreamRunRequest{Message: "hi", UserId: "u"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	cancel()
	got := <-log
	if got.attrs["code"] != "CANCELLED" || got.level != slog.LevelInfo || got.attrs["error"] != "" {
		t.Errorf("line is %v %v, want CANCELLED at info", got.level, got.attrs)
	}
}

// A caller that breaks grpc's own rules is told so by grpc, and is no error of ours.
func TestStreamWithoutARequest(t *testing.T) {
	t.Parallel()
	log := newLines()
	conn := serve(t, Config{Log: slog.New(log)}, agents{run: behaviour})
	stream, err := conn.NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true},
		agentv1.AgentService_StreamRun_FullMethodName)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	err = stream.RecvMsg(&agentv1.StreamRunResponse{})
	wantStatus(t, err, codes.Internal,
		"cardinality violation: received no request message from non-client-streaming RPC")
	wantLine(t, <-log, slog.LevelInfo, codes.Internal, map[string]string{"tenant": "default"})
}

// A response that cannot be sent is an error of ours, with its cause in the log.
func TestResponseThatCannotBeSent(t *testing.T) {
	t.Parallel()
	log := newLines()
	options, err := ServerOptions(Config{Log: slog.New(log)})
	if err != nil {
		t.Fatal(err)
	}
	conn := serveWith(t, endless{}, append(options, grpc.MaxSendMsgSize(0)))
	err = callers()["stream"](t.Context(), conn, request(t, "hello", "alice"))
	if status.Code(err) != codes.ResourceExhausted {
		t.Errorf("answer is %v, want RESOURCE_EXHAUSTED", err)
	}
	wantLine(t, <-log, slog.LevelWarn, codes.ResourceExhausted, map[string]string{
		"tenant": "default", "user": "alice",
		"error": "rpc error: code = ResourceExhausted desc = trying to send message larger than max (2 vs. 0)",
	})
}

// A limiter's place is given back when the call ends, however it ends.
func TestReleaseAtTheEnd(t *testing.T) {
	t.Parallel()
	for kind, call := range callers() {
		for _, message := range []string{"ok", "unknown", "panic"} {
			t.Run(kind+"/"+message, func(t *testing.T) {
				t.Parallel()
				conn := serve(t, Config{Limiter: NewWindowLimiter(Limits{ConcurrentRuns: 1})}, agents{run: behaviour})
				for range 3 {
					err := call(t.Context(), conn, request(t, message, "alice"))
					if status.Code(err) == codes.ResourceExhausted {
						t.Fatalf("the place was not given back: %v", err)
					}
				}
			})
		}
	}
}

// endless streams until it cannot.
type endless struct {
	agentv1.UnimplementedAgentServiceServer
}

func (endless) StreamRun(_ *agentv1.StreamRunRequest, stream grpc.ServerStreamingServer[agentv1.StreamRunResponse]) error {
	for {
		if err := stream.Send(&agentv1.StreamRunResponse{Event: &agentv1.RunEvent{}}); err != nil {
			return fmt.Errorf("sending: %w", err)
		}
	}
}

// A stream may last for ever: a request that needs nothing done at the end
// leaves nothing behind.
func TestARequestThatWasCheckedLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	validate, err := validation()
	if err != nil {
		t.Fatal(err)
	}
	p := &passage{}
	for range 100 {
		if err := p.check(t.Context(), validate, &agentv1.ListAgentsRequest{}); err != nil {
			t.Fatal(err)
		}
	}
	if len(p.ended) != 0 {
		t.Errorf("%d things are left to do", len(p.ended))
	}
}

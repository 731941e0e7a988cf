package interceptors

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"log/slog"
	"net"
	"testing"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"

	agentv1 "github.com/runwire/runwire/gen/agent/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	runKey   = "key-that-may-run"
	tasksKey = "key-that-may-not-run"
)

func testKeys() []Key {
	return []Key{
		{Name: "runner", Tenant: "acme", SHA256: sha256.Sum256([]byte(runKey)), Scopes: []Scope{ScopeRun}},
		{Name: "tasker", SHA256: sha256.Sum256([]byte(tasksKey)), Scopes: []Scope{ScopeTasks}},
	}
}

// agents is an AgentService whose runs do what the test says.
type agents struct {
	agentv1.UnimplementedAgentServiceServer

	run func(ctx context.Context, message string) error
}

func (a agents) Run(ctx context.Context, req *agentv1.RunRequest) (*agentv1.RunResponse, error) {
	if err := a.run(ctx, req.GetMessage()); err != nil {
		return nil, err
	}
	return &agentv1.RunResponse{}, nil
}

func (a agents) StreamRun(req *agentv1.StreamRunRequest, stream grpc.ServerStreamingServer[agentv1.StreamRunResponse]) error {
	if err := stream.Send(&agentv1.StreamRunResponse{}); err != nil {
		return err
	}
	return a.run(stream.Context(), req.GetMessage())
}

func (agents) ListAgents(context.Context, *agentv1.ListAgentsRequest) (*agentv1.ListAgentsResponse, error) {
	return &agentv1.ListAgentsResponse{}, nil
}

// serve serves agents through the chain on an in-memory connection.
func serve(t testing.TB, cfg Config, a agents, opts ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	options, err := ServerOptions(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return serveWith(t, a, options, opts...)
}

func serveWith(t testing.TB, a agentv1.AgentServiceServer, options []grpc.ServerOption, opts ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	listener := bufconn.Listen(1 << 20)
	server := grpc.NewServer(append(options, grpc.WaitForHandlers(true))...)
	agentv1.RegisterAgentServiceServer(server, a)
	checker := health.NewServer()
	healthpb.RegisterHealthServer(server, checker)
	reflection.Register(server)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	conn, err := grpc.NewClient("passthrough:///memory", append(opts,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }),
	)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
		server.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return conn
}

// bytesCodec sends and receives messages as the bytes they are.
type bytesCodec struct{}

func (bytesCodec) Name() string { return "proto" }

func (bytesCodec) Marshal(v any) (mem.BufferSlice, error) {
	data, ok := v.([]byte)
	if !ok {
		return nil, errors.New("not bytes")
	}
	return mem.BufferSlice{mem.SliceBuffer(data)}, nil
}

func (bytesCodec) Unmarshal(data mem.BufferSlice, v any) error {
	into, ok := v.(*[]byte)
	if !ok {
		return errors.New("not bytes")
	}
	*into = data.Materialize()
	return nil
}

// caller sends the bytes of a request by one of the two kinds of calls.
type caller func(ctx context.Context, conn *grpc.ClientConn, request []byte) error

func callers() map[string]caller {
	return map[string]caller{
		"unary": func(ctx context.Context, conn *grpc.ClientConn, request []byte) error {
			var response []byte
			return conn.Invoke(ctx, agentv1.AgentService_Run_FullMethodName, request, &response,
				grpc.ForceCodecV2(bytesCodec{}))
		},
		"stream": func(ctx context.Context, conn *grpc.ClientConn, request []byte) error {
			stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true},
				agentv1.AgentService_StreamRun_FullMethodName, grpc.ForceCodecV2(bytesCodec{}))
			if err != nil {
				return err
			}
			// What went wrong is in the status, which receiving returns.
			if err := stream.SendMsg(request); err != nil && !errors.Is(err, io.EOF) {
				return err
			}
			if err := stream.CloseSend(); err != nil {
				return err
			}
			for {
				var response []byte
				if err := stream.RecvMsg(&response); errors.Is(err, io.EOF) {
					return nil
				} else if err != nil {
					return err
				}
			}
		},
	}
}

// request is a RunRequest, and by its encoding a StreamRunRequest too.
func request(t testing.TB, message, user string) []byte {
	t.Helper()
	data, err := proto.Marshal(&agentv1.RunRequest{Message: message, UserId: user})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func withHeader(ctx context.Context, kv ...string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, kv...)
}

// wantStatus fails unless err is a status of that code, sentence and details.
func wantStatus(t *testing.T, err error, code codes.Code, message string, details ...proto.Message) {
	t.Helper()
	got := status.Convert(err)
	if got.Code() != code || got.Message() != message {
		t.Errorf("status is %v %q, want %v %q", got.Code(), got.Message(), code, message)
	}
	if len(got.Details()) != len(details) {
		t.Fatalf("details are %v, want %v", got.Details(), details)
	}
	for i, detail := range got.Details() {
		if m, ok := detail.(proto.Message); !ok || !proto.Equal(m, details[i]) {
			t.Errorf("detail %d is %v, want %v", i, detail, details[i])
		}
	}
}

// line is one line of a log.
type line struct {
	level   slog.Level
	message string
	attrs   map[string]string
}

// lines is a log that can be waited for.
type lines chan line

func newLines() lines { return make(lines, 16) }

func (lines) Enabled(context.Context, slog.Level) bool { return true }

func (l lines) Handle(_ context.Context, record slog.Record) error {
	got := line{level: record.Level, message: record.Message, attrs: make(map[string]string)}
	record.Attrs(func(attr slog.Attr) bool {
		got.attrs[attr.Key] = attr.Value.String()
		return true
	})
	l <- got
	return nil
}

func (l lines) WithAttrs([]slog.Attr) slog.Handler { return l }
func (l lines) WithGroup(string) slog.Handler      { return l }

// invokeUnknown calls a method that does not exist.
func invokeUnknown(t *testing.T, conn *grpc.ClientConn) {
	t.Helper()
	var response []byte
	err := conn.Invoke(t.Context(), "/agent.v1.AgentService/Invented", []byte{}, &response, grpc.ForceCodecV2(bytesCodec{}))
	if status.Code(err) != codes.Unimplemented {
		t.Errorf("an unknown method is answered with %v, want UNIMPLEMENTED", err)
	}
}

package main

import (
	"context"
	"errors"
	"net"
	"path"
	"slices"
	"sync"
	"testing"

	agentv1 "github.com/runwire/runwire/gen/agent/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// standInKey is the key that a stand-in wants.
const standInKey = "rw_secret"

// answer is what a stand-in does with a request.
type answer func(request proto.Message) (proto.Message, error)

// answers always says the same.
func answers(response proto.Message) answer {
	return func(proto.Message) (proto.Message, error) { return response, nil }
}

// standIn is a server of the whole contract whose answers a test writes.
type standIn struct {
	// unary has an answer for each method, by its name.
	unary map[string]answer
	// watch is WatchTask.
	watch func(ctx context.Context, request *agentv1.WatchTaskRequest, send func(...*agentv1.RunEvent) error) error

	mu    sync.Mutex
	asked []proto.Message // each request, as it came
}

// start serves on address, such as `127.0.0.1:0`, and returns where, and what
// ends it at once.
func (s *standIn) start(t *testing.T, address string) (at string, stop func()) {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.UnaryInterceptor(s.answer), grpc.StreamInterceptor(s.stream), grpc.WaitForHandlers(true))
	agentv1.RegisterAgentServiceServer(server, agentv1.UnimplementedAgentServiceServer{})
	agentv1.RegisterMemoryServiceServer(server, agentv1.UnimplementedMemoryServiceServer{})
	agentv1.RegisterScheduleServiceServer(server, agentv1.UnimplementedScheduleServiceServer{})
	agentv1.RegisterSessionServiceServer(server, agentv1.UnimplementedSessionServiceServer{})
	agentv1.RegisterUsageServiceServer(server, agentv1.UnimplementedUsageServiceServer{})
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	stop = sync.OnceFunc(func() {
		server.Stop()
		if err := <-served; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return listener.Addr().String(), stop
}

// command is args with the flags to talk to a server of its own.
func (s *standIn) command(t *testing.T, args ...string) []string {
	t.Helper()
	address, _ := s.start(t, "127.0.0.1:0")
	return append(slices.Clone(args), "--server", address, "--api-key", standInKey)
}

// run executes a command that asks the stand-in.
func (s *standIn) run(t *testing.T, args ...string) (code int, out, said string) {
	t.Helper()
	return runwire(t, "", s.command(t, args...)...)
}

func (s *standIn) note(ctx context.Context, request proto.Message) error {
	if key := metadata.ValueFromIncomingContext(ctx, "x-api-key"); !slices.Equal(key, []string{standInKey}) {
		return status.Error(codes.Unauthenticated, "an API key is needed")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, proto.Clone(request))
	return nil
}

// requests are those that came.
func (s *standIn) requests() []proto.Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asked)
}

func (s *standIn) answer(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	request := req.(proto.Message)
	if err := s.note(ctx, request); err != nil {
		return nil, err
	}
	if answer := s.unary[path.Base(info.FullMethod)]; answer != nil {
		return answer(request)
	}
	return next(ctx, req)
}

func (s *standIn) stream(_ any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, _ grpc.StreamHandler) error {
	request := &agentv1.WatchTaskRequest{}
	if err := stream.RecvMsg(request); err != nil {
		return err
	}
	if err := s.note(stream.Context(), request); err != nil {
		return err
	}
	return s.watch(stream.Context(), request, func(events ...*agentv1.RunEvent) error {
		for _, event := range events {
			if err := stream.SendMsg(&agentv1.WatchTaskResponse{Event: event}); err != nil {
				return err
			}
		}
		return nil
	})
}

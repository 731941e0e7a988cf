package interceptors

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	agentv1 "github.com/runwire/runwire/gen/agent/v1"
)

// With no keys everybody is the default tenant with every scope; handlers see
// who calls, and nobody where there is no call.
func TestCaller(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		keys []Key
		want string
	}{
		"no keys": {want: "{default  [run tasks admin]} true"},
		"keys":    {keys: testKeys(), want: "{acme runner [run]} true"},
	}
	for name, test := range tests {
		for kind, call := range callers() {
			t.Run(name+"/"+kind, func(t *testing.T) {
				t.Parallel()
				var got string
				conn := serve(t, Config{Keys: test.keys}, agents{run: func(ctx context.Context, _ string) error {
					caller, known := Caller(ctx)
					got = fmt.Sprint(caller, known)
					return nil
				}})
				if err := call(withHeader(t.Context(), "x-api-key", runKey), conn, request(t, "hello", "alice")); err != nil {
					t.Fatal(err)
				}
				if got != test.want {
					t.Errorf("handler sees %s, want %s", got, test.want)
				}
			})
		}
	}
	if caller, known := Caller(t.Context()); known {
		t.Errorf("outside a call, the caller is %v", caller)
	}
	SetRun(t.Context(), "run-1", "default")
}

// Health and reflection answer without a key, in their own words, and are
// logged where they do not disturb.
func TestHealthAndReflectionNeedNoKey(t *testing.T) {
	t.Parallel()
	log := newLines()
	conn := serve(t, Config{Log: slog.New(log), Keys: testKeys()}, agents{run: behaviour})

	checker := healthpb.NewHealthClient(conn)
	if _, err := checker.Check(t.Context(), &healthpb.HealthCheckRequest{}); err != nil {
		t.Error(err)
	}
	if got := <-log; got.level != slog.LevelDebug {
		t.Errorf("health is logged at %v, want debug", got.level)
	}
	_, err := checker.Check(t.Context(), &healthpb.HealthCheckRequest{Service: "ghost"})
	wantStatus(t, err, codes.NotFound, "unknown service")
	if got := <-log; got.level != slog.LevelDebug || got.attrs["code"] != "NOT_FOUND" {
		t.Errorf("health is logged as %v, want NOT_FOUND at debug", got)
	}

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stream, err := grpc_reflection_v1.NewServerReflectionClient(conn).ServerReflectionInfo(ctx)
	if err != nil {
		t.Fatal(err)
	}
	err = stream.Send(&grpc_reflection_v1.ServerReflectionRequest{
		MessageRequest: &grpc_reflection_v1.ServerReflectionRequest_ListServices{},
	})
	if err != nil {
		t.Fatal(err)
	}
	if response, err := stream.Recv(); err != nil || len(response.GetListServicesResponse().GetService()) == 0 {
		t.Errorf("reflection answered %v, %v", response, err)
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if got := <-log; got.level != slog.LevelDebug {
		t.Errorf("reflection is logged at %v, want debug", got.level)
	}
}

// Every method of the contract has a scope that somebody chose, and no other
// has; one that nobody thought of is for administrators.
func TestScopes(t *testing.T) {
	t.Parallel()
	left := maps.Clone(scopes)
	contract := agentv1.File_agent_v1_agent_service_proto.Package()
	protoregistry.GlobalFiles.RangeFilesByPackage(contract, func(file protoreflect.FileDescriptor) bool {
		for i := range file.Services().Len() {
			service := file.Services().Get(i)
			for j := range service.Methods().Len() {
				method := fmt.Sprintf("/%s/%s", service.FullName(), service.Methods().Get(j).Name())
				if _, chosen := scopes[method]; !chosen {
					t.Errorf("nobody has chosen the scope of %s", method)
				}
				if open(method) {
					t.Errorf("%s is open to everybody", method)
				}
				delete(left, method)
			}
		}
		return true
	})
	for method := range left {
		t.Errorf("%s is not in the contract", method)
	}
	for _, method := range []string{"/grpc.channelz.v1.Channelz/GetServers", "/agent.v1.AgentService/Shutdown", "", "/"} {
		if scope := requiredScope(method); scope != ScopeAdmin || open(method) {
			t.Errorf("%q needs the scope %q, open: %v; want admin", method, scope, open(method))
		}
	}
}

// What each service asks of a key, and which methods count against the limits.
func TestScopesOfServices(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		methods string // separated by spaces
		scope   Scope
		limited bool
	}{
		{"AgentService/Run AgentService/StreamRun", ScopeRun, true},
		{"AgentService/EstimateCost", ScopeRun, false},
		{"AgentService/ListAgents", scopeAny, false},
		{"AgentService/SubmitTask", ScopeTasks, true},
		{"AgentService/GetTask AgentService/ListTasks AgentService/CancelTask AgentService/WatchTask", ScopeTasks, false},
		{"SessionService/ListSessions SessionService/GetSession SessionService/ListMessages SessionService/DeleteSession", ScopeRun, false},
		{"MemoryService/SaveMemory MemoryService/SearchMemories MemoryService/ListMemories MemoryService/DeleteMemory", ScopeRun, false},
		{"ScheduleService/CreateSchedule ScheduleService/GetSchedule ScheduleService/ListSchedules", ScopeTasks, false},
		{"ScheduleService/PauseSchedule ScheduleService/ResumeSchedule ScheduleService/DeleteSchedule", ScopeTasks, false},
		{"UsageService/GetUsage", ScopeAdmin, false},
	} {
		for name := range strings.FieldsSeq(test.methods) {
			method := "/agent.v1." + name
			if scope := requiredScope(method); scope != test.scope || limited(method) != test.limited {
				t.Errorf("%s needs %q, limited: %v; want %q, %v", name, scope, limited(method), test.scope, test.limited)
			}
		}
	}
}

// Listing agents takes any key and no limit.
func TestListAgentsTakesAnyKey(t *testing.T) {
	t.Parallel()
	conn := serve(t, Config{Keys: testKeys(), Limiter: refusing{}}, agents{run: behaviour})
	ctx := withHeader(t.Context(), "x-api-key", tasksKey)
	if _, err := agentv1.NewAgentServiceClient(conn).ListAgents(ctx, &agentv1.ListAgentsRequest{}); err != nil {
		t.Error(err)
	}
}

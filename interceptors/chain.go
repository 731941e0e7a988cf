// Package interceptors is what every call passes before and after its handler:
// telemetry, access log, recovery, authentication, validation, limits, errors.
// It knows the contract, and nothing of agents, models or how a server is built.
package interceptors

import (
	"fmt"
	"log/slog"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"

	agentv1 "github.com/runwire/runwire/gen/agent/v1"
)

// Config is what the chain is made of. The zero value serves everybody,
// without limits, without a log and without telemetry.
type Config struct {
	// Log gets a line a call; nil is silence.
	Log *slog.Logger
	// TracerProvider gets a span a call; nil is none.
	TracerProvider trace.TracerProvider
	// MeterProvider gets each call's duration; nil is none.
	MeterProvider metric.MeterProvider
	// Propagator reads the caller's trace from the headers; nil is W3C trace context.
	Propagator propagation.TextMapPropagator
	// Keys are the API keys that may call. With none, everybody may do
	// everything as the tenant DefaultTenant.
	Keys []Key
	// Limiter decides whether a run may begin; nil lets all begin.
	Limiter Limiter
	// Errors translates what handlers return, the first rule that matches first.
	Errors []ErrorRule
	// MaxRequestBytes bounds one request message, before and after unpacking;
	// 0 is 4 MiB. It takes the place of grpc.MaxRecvMsgSize.
	MaxRequestBytes int
}

// ServerOptions makes the server pass every call through the chain. It returns
// an error if the contract's rules cannot be read, or the meter refuses its
// metric.
func ServerOptions(cfg Config) ([]grpc.ServerOption, error) {
	links, err := chain(cfg)
	if err != nil {
		return nil, fmt.Errorf("building the interceptor chain: %w", err)
	}
	return append(decoding(cfg.MaxRequestBytes),
		grpc.ChainUnaryInterceptor(links.unary),
		grpc.ChainStreamInterceptor(links.stream),
	), nil
}

// chain is the one order for unary and streaming calls, outermost first.
func chain(cfg Config) (links, error) {
	validate, err := validation()
	if err != nil {
		return nil, err
	}
	tell, err := telemetry(cfg)
	if err != nil {
		return nil, err
	}
	return links{
		// Outermost, so that the duration is the whole call's and the log line
		// has the trace.
		{not(open), tell},
		// Before recovery, so that a call that panicked is logged like any other.
		{nil, accessLog(cfg.Log, open)},
		// Before everything that could panic.
		{nil, recovery},
		// Before anything looks at the request: strangers learn nothing from it.
		{not(open), auth(cfg.Keys, requiredScope)},
		// Before limits, which count by a user id that must be one, and which a
		// request that cannot run should not use up.
		{nil, onRequest(validate)},
		// The last gate: what passes it has been counted and will run.
		{limited, onRequest(limit(cfg.Limiter))},
		// Innermost, so that only handlers' errors are translated. Those of
		// health and reflection are part of their published contracts.
		{not(open), translation(cfg.Errors)},
	}, nil
}

// open says which methods anybody may call: load balancers and grpcurl have no key.
func open(method string) bool {
	switch service(method) {
	case "grpc.health.v1.Health",
		"grpc.reflection.v1.ServerReflection",
		"grpc.reflection.v1alpha.ServerReflection":
		return true
	default:
		return false
	}
}

// scopes is what a key needs for each method of the contract.
var scopes = map[string]Scope{
	agentv1.AgentService_Run_FullMethodName:             ScopeRun,
	agentv1.AgentService_StreamRun_FullMethodName:       ScopeRun,
	agentv1.AgentService_EstimateCost_FullMethodName:    ScopeRun,
	agentv1.AgentService_ListAgents_FullMethodName:      scopeAny,
	agentv1.AgentService_SubmitTask_FullMethodName:      ScopeTasks,
	agentv1.AgentService_GetTask_FullMethodName:         ScopeTasks,
	agentv1.AgentService_ListTasks_FullMethodName:       ScopeTasks,
	agentv1.AgentService_CancelTask_FullMethodName:      ScopeTasks,
	agentv1.AgentService_WatchTask_FullMethodName:       ScopeTasks,
	agentv1.AgentService_ResolveApproval_FullMethodName: ScopeTasks,

	agentv1.SessionService_ListSessions_FullMethodName:  ScopeRun,
	agentv1.SessionService_GetSession_FullMethodName:    ScopeRun,
	agentv1.SessionService_ListMessages_FullMethodName:  ScopeRun,
	agentv1.SessionService_DeleteSession_FullMethodName: ScopeRun,

	agentv1.MemoryService_SaveMemory_FullMethodName:     ScopeRun,
	agentv1.MemoryService_SearchMemories_FullMethodName: ScopeRun,
	agentv1.MemoryService_ListMemories_FullMethodName:   ScopeRun,
	agentv1.MemoryService_DeleteMemory_FullMethodName:   ScopeRun,

	agentv1.ScheduleService_CreateSchedule_FullMethodName: ScopeTasks,
	agentv1.ScheduleService_GetSchedule_FullMethodName:    ScopeTasks,
	agentv1.ScheduleService_ListSchedules_FullMethodName:  ScopeTasks,
	agentv1.ScheduleService_PauseSchedule_FullMethodName:  ScopeTasks,
	agentv1.ScheduleService_ResumeSchedule_FullMethodName: ScopeTasks,
	agentv1.ScheduleService_DeleteSchedule_FullMethodName: ScopeTasks,

	agentv1.UsageService_GetUsage_FullMethodName: ScopeAdmin,
}

// requiredScope is what a key needs for a method; a method that nobody has
// thought about is for administrators.
func requiredScope(method string) Scope {
	if scope, chosen := scopes[method]; chosen {
		return scope
	}
	return ScopeAdmin
}

// limited says which methods count against the limits: those that make an agent
// run, now or later.
func limited(method string) bool {
	switch method {
	case agentv1.AgentService_Run_FullMethodName,
		agentv1.AgentService_StreamRun_FullMethodName,
		agentv1.AgentService_SubmitTask_FullMethodName:
		return true
	default:
		return false
	}
}

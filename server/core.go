package server

import (
	"context"
	"errors"
	"fmt"
	"slices"

	agentv1 "github.com/runwire/runwire/gen/agent/v1"
	"github.com/runwire/runwire/interceptors"
	"github.com/runwire/runwire/telemetry"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"
)

// core is a server without its ports: the services behind their interceptors.
type core struct {
	grpc      *grpc.Server
	health    *health.Server
	calls     *calls   // that run agents
	watches   *calls   // that only watch
	durable   *durable // nil for a server without a memory
	tools     *toolServers
	telemetry *telemetry.Telemetry
}

// openCore makes the services of cfg. They say NOT_SERVING until serving.
// Without lasting, nothing is kept: there are no tasks, sessions and usage.
func openCore(ctx context.Context, cfg Config, transport []grpc.ServerOption, lasting bool) (*core, error) {
	told, err := telemetry.Setup(ctx, telemetry.Options{Logger: cfg.Log.With("logger", "runwire.telemetry")})
	if err != nil {
		return nil, fmt.Errorf("set up telemetry: %w", err)
	}
	c := &core{health: health.NewServer(), calls: newCalls(), watches: newCalls(), telemetry: told}
	if err := c.open(ctx, cfg, transport, lasting); err != nil {
		return nil, errors.Join(err, c.closeDurable(), c.tools.stop(), told.Shutdown(ctx))
	}
	return c, nil
}

func (c *core) open(ctx context.Context, cfg Config, transport []grpc.ServerOption, lasting bool) (err error) {
	told := c.telemetry
	if c.tools, err = startToolServers(ctx, cfg); err != nil {
		return err
	}
	runner, err := newRunner(ctx, cfg, told, c.tools)
	if err != nil {
		return err
	}
	limiter := interceptors.Limiter(interceptors.NewWindowLimiter(limits(cfg)))
	if lasting {
		if c.durable, err = openDurable(ctx, cfg, runner, told); err != nil {
			return err
		}
		limiter = c.durable.limiter
	}
	chain, err := interceptors.ServerOptions(interceptors.Config{
		Log:             cfg.Log.With("logger", "runwire.rpc"),
		TracerProvider:  told.TracerProvider,
		MeterProvider:   told.MeterProvider,
		Propagator:      told.Propagator,
		Keys:            keys(cfg),
		Limiter:         limiter,
		Errors:          errorRules(),
		MaxRequestBytes: maxRequest,
	})
	if err != nil {
		return err
	}
	c.grpc = grpc.NewServer(slices.Concat(transport, chain)...)
	c.register(cfg, &agentService{
		runner: runner, calls: c.calls, durable: c.durable, stall: cfg.StallTimeout,
	})
	c.registerHealth(c.grpc)
	reflection.Register(c.grpc) // v1, and v1alpha for older tools
	c.report(grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	return nil
}

// register offers the services of cfg's role.
func (c *core) register(cfg Config, agents *agentService) {
	switch d := c.durable; {
	case d == nil:
		agentv1.RegisterAgentServiceServer(c.grpc, agents)
	case cfg.Role != RoleWorker:
		agentv1.RegisterAgentServiceServer(c.grpc, &taskService{agentService: agents, tasks: d.tasks, watches: c.watches})
		agentv1.RegisterSessionServiceServer(c.grpc, newSessionService(d.store))
		agentv1.RegisterMemoryServiceServer(c.grpc, newMemoryService(d.memories, cfg.File.Memory.MaxPerUser))
		agentv1.RegisterScheduleServiceServer(c.grpc, newScheduleService(d.schedules))
		agentv1.RegisterUsageServiceServer(c.grpc, newUsageService(d.store))
	}
}

// drain lets those who watch go on elsewhere, and returns when the tasks that
// run here have ended or were handed on.
func (c *core) drain() error {
	c.watches.end(errShuttingDown)
	if c.durable == nil {
		return nil
	}
	return c.durable.drain()
}

func (c *core) closeDurable() error {
	if c.durable == nil {
		return nil
	}
	return c.durable.close()
}

func (c *core) registerHealth(on *grpc.Server) { grpc_health_v1.RegisterHealthServer(on, c.health) }

// serving says so.
func (c *core) serving() { c.report(grpc_health_v1.HealthCheckResponse_SERVING) }

// report sets the health of the whole and of each service.
func (c *core) report(status grpc_health_v1.HealthCheckResponse_ServingStatus) {
	c.health.SetServingStatus("", status)
	for service := range c.grpc.GetServiceInfo() {
		c.health.SetServingStatus(service, status)
	}
}

// close ends what is left and sends out the last telemetry, for as long as
// that takes at most.
func (c *core) close(ctx context.Context) error {
	c.watches.end(errShuttingDown)
	c.calls.end(errShuttingDown)
	return errors.Join(stop(c.grpc), c.closeDurable(), c.tools.stop(), c.telemetry.Shutdown(ctx))
}

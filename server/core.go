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
	calls     *calls
	end       context.CancelCauseFunc // ends the calls that run
	telemetry *telemetry.Telemetry
}

// openCore makes the services of cfg. They say NOT_SERVING until serving.
func openCore(ctx context.Context, cfg Config, transport []grpc.ServerOption) (*core, error) {
	told, err := telemetry.Setup(ctx, telemetry.Options{Logger: cfg.Log.With("logger", "runwire.telemetry")})
	if err != nil {
		return nil, fmt.Errorf("set up telemetry: %w", err)
	}
	c, err := newCore(ctx, cfg, transport, told)
	if err != nil {
		return nil, errors.Join(err, told.Shutdown(ctx))
	}
	return c, nil
}

func newCore(ctx context.Context, cfg Config, transport []grpc.ServerOption, told *telemetry.Telemetry) (*core, error) {
	runner, err := newRunner(ctx, cfg, told)
	if err != nil {
		return nil, err
	}
	chain, err := interceptors.ServerOptions(interceptors.Config{
		Log:             cfg.Log.With("logger", "runwire.rpc"),
		TracerProvider:  told.TracerProvider,
		MeterProvider:   told.MeterProvider,
		Propagator:      told.Propagator,
		Keys:            keys(cfg),
		Limiter:         interceptors.NewWindowLimiter(limits(cfg)),
		Errors:          errorRules(),
		MaxRequestBytes: maxRequest,
	})
	if err != nil {
		return nil, err
	}
	ending, end := context.WithCancelCause(context.WithoutCancel(ctx))
	c := &core{health: health.NewServer(), calls: &calls{}, end: end, telemetry: told}
	c.grpc = grpc.NewServer(slices.Concat(transport, chain)...)
	agentv1.RegisterAgentServiceServer(c.grpc, &agentService{
		runner: runner, calls: c.calls, ending: ending, stall: cfg.StallTimeout,
	})
	c.registerHealth(c.grpc)
	reflection.Register(c.grpc) // v1, and v1alpha for older tools
	c.report(grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	return c, nil
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
	c.end(errShuttingDown)
	return errors.Join(stop(c.grpc), c.telemetry.Shutdown(ctx))
}

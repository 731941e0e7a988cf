package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"github.com/runwire/runwire/agent"
	"github.com/runwire/runwire/bus"
	"github.com/runwire/runwire/config"
	agentv1 "github.com/runwire/runwire/gen/agent/v1"
	"github.com/runwire/runwire/interceptors"
	"github.com/runwire/runwire/memories"
	"github.com/runwire/runwire/schedules"
	"github.com/runwire/runwire/sessions"
	"github.com/runwire/runwire/store"
	"github.com/runwire/runwire/tasks"
	"github.com/runwire/runwire/telemetry"
	"github.com/runwire/runwire/webhooks"
)

// durable is all that outlives a call: the store, the bus, and what goes on in
// the background.
type durable struct {
	cfg Config
	log *slog.Logger

	store     *store.DB
	bus       *bus.Bus
	limiter   interceptors.Limiter
	ledger    *ledger
	spending  *spending
	sessions  *sessions.Keeper
	memories  *memories.Keeper
	tasks     *tasks.Service
	schedules *schedules.Schedules
	webhooks  *webhooks.Sender

	opened closers

	// work is what takes on new things, and ends first; support is what work
	// and calls need to finish.
	work, support background
}

// openDurable opens the store and the bus, and makes what works on them.
func openDurable(ctx context.Context, cfg Config, runner *agent.Runner, told *telemetry.Telemetry) (*durable, error) {
	d := &durable{cfg: cfg, log: cfg.Log.With(slog.String("logger", "runwire.tasks"))}
	if err := d.open(ctx); err != nil {
		return nil, errors.Join(err, d.opened.close())
	}
	var err error
	if d.webhooks, err = webhooks.New(webhooks.Config{
		Store: d.store, Secrets: webhookSecrets(cfg.File.Webhooks), AllowPrivate: cfg.File.Webhooks.AllowPrivate,
		Meter: told.MeterProvider, Log: cfg.Log.With(slog.String("logger", "runwire.webhooks")),
	}); err != nil {
		return nil, errors.Join(err, d.opened.close())
	}
	if d.spending, err = newSpending(&cfg, d.store, told.MeterProvider); err != nil {
		return nil, errors.Join(err, d.opened.close())
	}
	d.sessions = sessions.NewKeeper(d.store, d.log)
	d.ledger = newLedger(d.store, d.log)
	if err := d.openMemories(ctx, told); err != nil {
		return nil, errors.Join(err, d.opened.close())
	}
	d.tasks = tasks.NewService(tasks.Config{
		Store: d.store, Bus: d.bus, Runner: runner, Sessions: d.sessions, Webhooks: d.webhooks, Log: d.log,
		Memory: notesOf(d.memories, cfg.File.Memory.MaxPerUser), Allowance: d.spending.allowance,
	})
	d.schedules = schedules.New(schedules.Config{
		Store: d.store, Submitter: d.tasks, Log: cfg.Log.With(slog.String("logger", "runwire.schedules")),
		Check: func(_ context.Context, tenant string, req *agentv1.SubmitTaskRequest) error {
			return d.tasks.Check(tenant, req)
		},
	})
	d.start(ctx)
	return d, nil
}

// open opens the store and the bus, both at a time: a server is soon there.
func (d *durable) open(ctx context.Context) error {
	if d.cfg.DatabaseURL == "" {
		if err := d.lock(); err != nil {
			return err
		}
	}
	var storeErr error
	var opening sync.WaitGroup
	opening.Go(func() { storeErr = d.openStore(ctx) })
	busErr := d.openBus(ctx)
	opening.Wait()
	if d.store != nil {
		d.opened.add(d.store.Close)
	}
	if d.bus != nil {
		d.opened.add(func() error { d.bus.Close(); return nil })
	}
	return errors.Join(storeErr, busErr)
}

func (d *durable) openStore(ctx context.Context) (err error) {
	if d.cfg.DatabaseURL != "" {
		d.store, err = store.OpenPostgres(ctx, d.cfg.DatabaseURL, store.Options{})
	} else {
		d.store, err = store.OpenSQLite(ctx, filepath.Join(d.cfg.DataDir, "runwire.db"), store.Options{})
	}
	return err
}

// lock takes the data folder for this process alone, until it ends however.
func (d *durable) lock() error {
	if err := os.MkdirAll(d.cfg.DataDir, 0o700); err != nil {
		return fmt.Errorf("data dir: %w", err)
	}
	file, err := os.OpenFile(filepath.Join(d.cfg.DataDir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("data dir: %w", err)
	}
	if err := lockFile(file); err != nil {
		return errors.Join(fmt.Errorf("data dir: %s is another process's; give this one its own with --data-dir, "+
			"or share a database with --database-url", d.cfg.DataDir), file.Close())
	}
	d.opened.add(file.Close)
	return nil
}

func (d *durable) openBus(ctx context.Context) (err error) {
	cfg := bus.Config{URL: d.cfg.NATSURL, Name: "runwire", Log: d.cfg.Log.With(slog.String("logger", "runwire.bus"))}
	if d.cfg.DatabaseURL == "" {
		cfg.Dir = filepath.Join(d.cfg.DataDir, "nats")
	}
	if d.bus, err = bus.Open(ctx, cfg); err != nil {
		return err
	}
	if d.cfg.NATSURL == "" && d.cfg.DatabaseURL != "" {
		d.log.WarnContext(ctx, "no NATS URL is given: processes that share the database hear of each other's tasks late")
	}
	if d.cfg.NATSURL == "" || d.cfg.Role == RoleWorker { // a worker lets nobody in, and must have no share
		d.limiter = interceptors.NewWindowLimiter(limits(d.cfg))
		return nil
	}
	shared := bus.OpenLimiter(ctx, d.bus.JetStream(), bus.LimiterConfig{
		Limits: limits(d.cfg), Log: d.cfg.Log.With(slog.String("logger", "runwire.limits")),
	})
	d.limiter = shared
	d.support.add(shared.Run)
	return nil
}

// start begins what goes on in the background.
func (d *durable) start(ctx context.Context) {
	d.support.add(d.bus.Run, d.sessions.Run, d.ledger.Run, d.webhooks.Run, d.memories.Run)
	d.support.start(ctx)
	d.work.add(d.tasks.NewSweeper(tasks.SweeperConfig{
		Retention: d.cfg.Retention, Sole: d.cfg.DatabaseURL == "", Fire: d.schedules.Fire,
	}).Run)
	if d.cfg.Role != RoleAPI {
		d.work.add(func(ctx context.Context) error {
			return d.tasks.Worker().Run(ctx, d.cfg.Workers, d.cfg.DrainTimeout)
		})
	}
	d.work.start(ctx)
}

// drain takes on nothing new, and returns when what was begun has ended, or
// was handed to other replicas.
func (d *durable) drain() error { return d.work.stop() }

// close ends the rest.
func (d *durable) close() error {
	return errors.Join(d.work.stop(), d.support.stop(), d.opened.close())
}

// background is loops that run until they are stopped.
type background struct {
	loops   []func(context.Context) error
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu   sync.Mutex
	errs []error
}

func (b *background) add(loops ...func(context.Context) error) { b.loops = append(b.loops, loops...) }

// start starts what was added. It may be called once.
func (b *background) start(ctx context.Context) {
	ctx, b.cancel = context.WithCancel(context.WithoutCancel(ctx))
	for _, loop := range b.loops {
		b.running.Go(func() {
			if err := loop(ctx); err != nil {
				b.mu.Lock()
				b.errs = append(b.errs, err)
				b.mu.Unlock()
			}
		})
	}
}

// stop returns once all loops have. It may be called again, and without start.
func (b *background) stop() error {
	if b.cancel == nil {
		return nil
	}
	b.cancel()
	b.running.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	errs := b.errs
	b.errs = nil
	return errors.Join(errs...)
}

func webhookSecrets(file config.Webhooks) webhooks.Secrets {
	texts := func(secrets []config.Secret) []string {
		all := make([]string, len(secrets))
		for i, secret := range secrets {
			all[i] = string(secret)
		}
		return all
	}
	secrets := webhooks.Secrets{All: texts(file.Secrets), ByTenant: make(map[string][]string, len(file.TenantSecrets))}
	for tenant, own := range file.TenantSecrets {
		secrets.ByTenant[tenant] = texts(own)
	}
	return secrets
}

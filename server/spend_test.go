package server

import (
	"context"
	"crypto/sha256"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/runwire/runwire/agent/model"
	"github.com/runwire/runwire/config"
	agentv1 "github.com/runwire/runwire/gen/agent/v1"
	"github.com/runwire/runwire/store"
	"github.com/runwire/runwire/store/storetest/postgres"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"
)

const micro = model.Dollar / 1e6

// costly makes the offline model cost a microdollar for each token that it
// reads and two for each that it says, which are 8.
func costly(cfg *Config) {
	cfg.File = file(offlineAgent("default", config.OfflineOptions{Tokens: 8}))
	cfg.File.Agents[0].Tools = nil
	cfg.File.Prices = map[string]model.Price{config.Offline: {
		Input: model.Dollar, CachedInput: model.Dollar, CacheWrite: model.Dollar, Output: 2 * model.Dollar,
	}}
}

// spentBy is what stands against a limit in a server's store.
func (f *fixture) spentBy(t *testing.T, limit store.SpendLimit) store.Spent {
	t.Helper()
	spent, err := f.core.durable.store.SpentToday(t.Context(), "default", []store.SpendLimit{limit})
	if err != nil {
		t.Fatal(err)
	}
	return spent[0]
}

// exhausted checks that err is a refusal by a spend limit, and when to come back.
func exhausted(t *testing.T, err error, subject string) (retry time.Duration) {
	t.Helper()
	told := status.Convert(err)
	if told.Code() != codes.ResourceExhausted || !strings.Contains(told.Message(), "spend limit") {
		t.Errorf("got error %v", err)
	}
	for _, detail := range told.Details() {
		switch detail := detail.(type) {
		case *errdetails.RetryInfo:
			retry = detail.GetRetryDelay().AsDuration()
		case *errdetails.QuotaFailure:
			if got := detail.GetViolations()[0]; got.GetSubject() != subject || !strings.HasPrefix(got.GetDescription(), "$") {
				t.Errorf("the violation is %v", got)
			}
		}
	}
	if retry <= 0 || retry > 24*time.Hour {
		t.Errorf("come back in %v", retry)
	}
	return retry
}

// finished is a task once it has ended.
func finished(ctx context.Context, t *testing.T, client agentv1.AgentServiceClient, id string) *agentv1.Task {
	t.Helper()
	if _, err := watch(ctx, client, id, 0); err != nil {
		t.Fatal(err)
	}
	got, err := client.GetTask(ctx, &agentv1.GetTaskRequest{TaskId: id})
	if err != nil {
		t.Fatal(err)
	}
	return got.GetTask()
}

func TestParallelRunsNeverPassASpendLimit(t *testing.T) {
	t.Parallel()
	t.Run("one server with a file", func(t *testing.T) {
		t.Parallel()
		spendTogether(t, 1, nil)
	})
	t.Run("two servers with a database", func(t *testing.T) {
		t.Parallel()
		address := postgres.Start(t).Schema(t)
		spendTogether(t, 2, func(cfg *Config) { cfg.DatabaseURL = address })
	})
}

// spendTogether has hundreds of callers run and submit on servers that share
// what one user may spend.
func spendTogether(t *testing.T, servers int, change func(*Config)) {
	t.Helper()
	const callers = 300
	const limit = 3000 * micro // for some dozens of runs
	fixtures := make([]*fixture, servers)
	conns := make([]*grpc.ClientConn, servers)
	for i := range servers {
		fixtures[i] = serve(t, func(cfg *Config) {
			costly(cfg)
			cfg.File.Agents[0].MaxOutputTokens = 500 // so that a third of the limit is reserved for a run
			cfg.File.Limits.PerUser.CostPerDay = limit
			if change != nil {
				change(cfg)
			}
		})
		conns[i] = fixtures[i].dial(t)
	}
	ann := store.SpendLimit{Scope: store.SpendOfUser, Name: "ann", Nano: int64(limit)}
	var answered, refused atomic.Int64
	var told sync.Map // what results say that runs have cost
	var all, watching sync.WaitGroup
	done := make(chan struct{})
	watching.Go(func() {
		for {
			if s := fixtures[0].spentBy(t, ann); s.SettledNano+s.ReservedNano > ann.Nano || s.ReservedNano < 0 {
				t.Errorf("%d is spent and %d reserved of %d", s.SettledNano, s.ReservedNano, ann.Nano)
			}
			select {
			case <-done:
				return
			default:
			}
		}
	})
	for i := range callers {
		all.Go(func() {
			client := agentv1.NewAgentServiceClient(conns[i%servers])
			run := callings()[[]string{"Run", "StreamRun"}[i/servers%2]]
			result, err := run(t.Context(), client, &agentv1.RunRequest{Message: "Hello?", UserId: "ann"})
			if err != nil {
				exhausted(t, err, "user:ann")
				refused.Add(1)
				return
			}
			answered.Add(1)
			told.Store(result.GetRunId(), exact(result.GetUsage()))
		})
	}
	all.Wait()
	close(done)
	watching.Wait()

	var sum model.Money
	told.Range(func(_, cost any) bool {
		sum += cost.(model.Money)
		return true
	})
	used, err := fixtures[0].core.durable.store.SumUsage(t.Context(), store.UsageFilter{Tenant: "default", UserID: "ann"})
	if err != nil {
		t.Fatal(err)
	}
	if model.Money(used[0].CostNano) != sum || sum > limit {
		t.Errorf("results say %v, usage %v, the limit is %v", sum, model.Money(used[0].CostNano), limit)
	}
	if got, want := fixtures[0].spentBy(t, ann), (store.Spent{SettledNano: int64(sum)}); got != want {
		t.Errorf("what stands against the limit is %+v, want %+v", got, want)
	}
	if answered.Load() == 0 || refused.Load() == 0 {
		t.Errorf("%d were answered and %d refused", answered.Load(), refused.Load())
	}
}

func TestASpentDayStaysSpent(t *testing.T) {
	t.Parallel()
	const limit = 500 * micro
	dir := t.TempDir()
	limited := func(cfg *Config) {
		costly(cfg)
		cfg.DataDir = dir
		cfg.File.Limits.PerUser.CostPerDay = limit
	}
	first := serve(t, limited)
	conn := first.dial(t)
	request := &agentv1.RunRequest{Message: "Hello?", UserId: "ann"}
	var last *agentv1.RunResult
	for {
		result, err := callRun(t.Context(), agentv1.NewAgentServiceClient(conn), request)
		if err != nil {
			if retry := exhausted(t, err, "user:ann"); retry <= retryReserved {
				t.Errorf("come back in %v, when nothing is reserved", retry)
			}
			break
		}
		last = result
	}
	if last == nil {
		t.Fatal("the limit leaves nothing")
	}
	first.stop()
	if err := first.wait(); err != nil {
		t.Fatal(err)
	}
	second := serve(t, limited)
	client := agentv1.NewAgentServiceClient(second.dial(t))
	for name, call := range callings() {
		_, err := call(t.Context(), client, request)
		exhausted(t, err, "user:ann")
		if _, err := call(t.Context(), client, &agentv1.RunRequest{Message: "Hello?", UserId: name}); err != nil {
			t.Errorf("%s: another user's day: %v", name, err)
		}
	}
	_, err := client.SubmitTask(t.Context(), &agentv1.SubmitTaskRequest{Message: "Hello?", UserId: "ann"})
	if retry := exhausted(t, err, "user:ann"); retry <= retryReserved {
		t.Errorf("come back in %v, when the day is spent", retry)
	}
	later := timestamppb.New(time.Now().Add(25 * time.Hour))
	if _, err := client.SubmitTask(t.Context(), &agentv1.SubmitTaskRequest{Message: "Hello?", UserId: "ann", RunAfter: later}); err != nil {
		t.Errorf("a task of tomorrow: %v", err)
	}
}

func TestATaskSpendsByTheKeyOfWhoSubmitsIt(t *testing.T) {
	t.Parallel()
	const limit = 600 * micro
	f := serve(t, func(cfg *Config) {
		costly(cfg)
		all := []config.Scope{config.ScopeRun, config.ScopeTasks, config.ScopeAdmin}
		cfg.File.Keys = []config.Key{
			{Name: "free", Tenant: "default", SHA256: sha256.Sum256([]byte("free")), Scopes: all},
			{Name: "poor", Tenant: "default", SHA256: sha256.Sum256([]byte("poor")), Scopes: all, CostPerDay: limit},
		}
	})
	client := agentv1.NewAgentServiceClient(f.dial(t))
	free := metadata.AppendToOutgoingContext(t.Context(), "x-api-key", "free")
	poor := metadata.AppendToOutgoingContext(t.Context(), "x-api-key", "poor")
	key := store.SpendLimit{Scope: store.SpendOfKey, Name: "poor", Nano: int64(limit)}

	var sum model.Money
	for n := 0; ; n++ {
		submitted, err := client.SubmitTask(poor, &agentv1.SubmitTaskRequest{Message: "Hello?", UserId: fmt.Sprint("user", n)})
		if err != nil {
			exhausted(t, err, "key:poor")
			break
		}
		task := finished(poor, t, client, submitted.GetTask().GetTaskId())
		sum += exact(task.GetResult().GetUsage())
		if got, want := f.spentBy(t, key), (store.Spent{SettledNano: int64(sum)}); got != want {
			t.Fatalf("what stands against the limit is %+v, want %+v", got, want)
		}
	}
	if sum == 0 || sum > limit {
		t.Errorf("%v was spent of %v", sum, limit)
	}
	if _, err := callRun(free, client, &agentv1.RunRequest{Message: "Hello?", UserId: "user0"}); err != nil {
		t.Errorf("another key: %v", err)
	}

	// One that was accepted before the day was spent ends and says why.
	schedules := agentv1.NewScheduleServiceClient(f.dial(t))
	if _, err := schedules.CreateSchedule(poor, &agentv1.CreateScheduleRequest{
		ScheduleId: "report", Cron: "0 0 1 1 *", Task: &agentv1.SubmitTaskRequest{Message: "Report.", UserId: "ann"},
	}); err != nil {
		t.Fatal(err)
	}
	kept, err := f.core.durable.store.GetSchedule(t.Context(), "default", "report")
	if err != nil || kept.Key != "poor" {
		t.Fatalf("the schedule is %+v, %v", kept, err)
	}
	fired, err := f.core.durable.tasks.Submit(t.Context(), "default", kept.Key, &agentv1.SubmitTaskRequest{Message: "Report.", UserId: "ann"})
	if err != nil {
		t.Fatal(err)
	}
	task := finished(poor, t, client, fired.GetTaskId())
	if task.GetStatus() != agentv1.TaskStatus_TASK_STATUS_FAILED ||
		task.GetResult().GetStopReason() != agentv1.StopReason_STOP_REASON_COST_BUDGET ||
		!strings.Contains(task.GetError(), "$0.0006 a day for this API key") {
		t.Errorf("the task is %v", task)
	}
}

func TestASpendLimitNeedsPrices(t *testing.T) {
	t.Parallel()
	for name, limit := range map[string]func(*config.File){
		"per user": func(f *config.File) { f.Limits.PerUser.CostPerDay = model.Dollar },
		"of a key": func(f *config.File) { f.Keys = []config.Key{{Name: "k", Tenant: "t", CostPerDay: model.Dollar}} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := testConfig(t)
			cfg.Listen, cfg.HTTPListen = "127.0.0.1:0", ""
			cfg.File = provided(t, nil)
			limit(cfg.File)
			_, err := New(t.Context(), cfg)
			if err == nil || !strings.Contains(err.Error(), "test/model: {input: ") {
				t.Errorf("got error %v", err)
			}
		})
	}
}

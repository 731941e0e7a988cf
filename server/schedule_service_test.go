package server

import (
	"context"
	"crypto/sha256"
	"net"
	"path/filepath"
	"testing"

	agentv1 "github.com/runwire/runwire/gen/agent/v1"
	"github.com/runwire/runwire/interceptors"
	"github.com/runwire/runwire/schedules"
	"github.com/runwire/runwire/store"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
)

// scheduling serves schedules over a SQLite file, behind the chain. The keys
// that may call are `acme` and `rival`, of the tenants of the same name.
func scheduling(t *testing.T) agentv1.ScheduleServiceClient {
	t.Helper()
	db, err := store.OpenSQLite(t.Context(), filepath.Join(t.TempDir(), "runwire.db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	var keys []interceptors.Key
	for _, name := range []string{"acme", "rival"} {
		keys = append(keys, interceptors.Key{
			Name: name, Tenant: name, SHA256: sha256.Sum256([]byte(name)), Scopes: []interceptors.Scope{interceptors.ScopeTasks},
		})
	}
	chain, err := interceptors.ServerOptions(interceptors.Config{Keys: keys, Errors: errorRules()})
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(chain...)
	agentv1.RegisterScheduleServiceServer(server, newScheduleService(schedules.New(schedules.Config{Store: db})))
	listener := bufconn.Listen(1 << 20)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	conn, err := grpc.NewClient("passthrough:///memory", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		server.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return agentv1.NewScheduleServiceClient(conn)
}

func asTenant(t *testing.T, key string) context.Context {
	t.Helper()
	return metadata.AppendToOutgoingContext(t.Context(), "x-api-key", key)
}

func TestSchedulesOverTheWire(t *testing.T) {
	t.Parallel()
	client, ctx := scheduling(t), asTenant(t, "acme")
	task := &agentv1.SubmitTaskRequest{Message: "Report.", UserId: "alice"}
	made, err := client.CreateSchedule(ctx, &agentv1.CreateScheduleRequest{
		ScheduleId: "report", Cron: "30 8 * * MON-FRI", TimeZone: "Europe/Berlin", Task: task,
	})
	if err != nil || made.GetSchedule().GetNextTime() == nil || made.GetSchedule().GetTask().GetMessage() != "Report." {
		t.Fatalf("CreateSchedule: %v, %v", made, err)
	}
	paused, err := client.PauseSchedule(ctx, &agentv1.PauseScheduleRequest{ScheduleId: "report"})
	if err != nil || !paused.GetSchedule().GetPaused() {
		t.Errorf("PauseSchedule: %v, %v", paused, err)
	}
	resumed, err := client.ResumeSchedule(ctx, &agentv1.ResumeScheduleRequest{ScheduleId: "report"})
	if err != nil || resumed.GetSchedule().GetPaused() || resumed.GetSchedule().GetNextTime() == nil {
		t.Errorf("ResumeSchedule: %v, %v", resumed, err)
	}
	got, err := client.GetSchedule(ctx, &agentv1.GetScheduleRequest{ScheduleId: "report"})
	if err != nil || got.GetSchedule().GetTimeZone() != "Europe/Berlin" {
		t.Errorf("GetSchedule: %v, %v", got, err)
	}
	listed, err := client.ListSchedules(ctx, &agentv1.ListSchedulesRequest{UserId: "alice"})
	if err != nil || len(listed.GetSchedules()) != 1 {
		t.Errorf("ListSchedules: %v, %v", listed, err)
	}
	if listed, err := client.ListSchedules(asTenant(t, "rival"), &agentv1.ListSchedulesRequest{}); err != nil || len(listed.GetSchedules()) != 0 {
		t.Errorf("another tenant's ListSchedules: %v, %v", listed, err)
	}
	if _, err := client.DeleteSchedule(ctx, &agentv1.DeleteScheduleRequest{ScheduleId: "report"}); err != nil {
		t.Errorf("DeleteSchedule: %v", err)
	}
}

func TestScheduleErrorsOverTheWire(t *testing.T) {
	t.Parallel()
	client, ctx := scheduling(t), asTenant(t, "acme")
	task := &agentv1.SubmitTaskRequest{Message: "Report.", UserId: "alice"}
	for field, req := range map[string]*agentv1.CreateScheduleRequest{
		"cron":        {Cron: "0 25 * * *", Task: task},
		"time_zone":   {Cron: "@daily", TimeZone: "Mars/Olympus", Task: task},
		"schedule_id": {ScheduleId: "no good", Cron: "@daily", Task: task},
	} {
		_, err := client.CreateSchedule(ctx, req)
		bad, _ := detail[*errdetails.BadRequest](err)
		if status.Code(err) != codes.InvalidArgument || bad.GetFieldViolations()[0].GetField() != field {
			t.Errorf("%s: %v, %v", field, err, bad)
		}
	}
	create := &agentv1.CreateScheduleRequest{ScheduleId: "mine", Cron: "@daily", Task: task}
	if _, err := client.CreateSchedule(ctx, create); err != nil {
		t.Fatal(err)
	}
	if _, err := client.CreateSchedule(ctx, create); status.Code(err) != codes.AlreadyExists {
		t.Errorf("a taken id: %v", err)
	}
	rival := asTenant(t, "rival")
	for name, call := range map[string]func() error{
		"get": func() error {
			return second(client.GetSchedule(rival, &agentv1.GetScheduleRequest{ScheduleId: "mine"}))
		},
		"pause": func() error {
			return second(client.PauseSchedule(rival, &agentv1.PauseScheduleRequest{ScheduleId: "mine"}))
		},
		"resume": func() error {
			return second(client.ResumeSchedule(rival, &agentv1.ResumeScheduleRequest{ScheduleId: "mine"}))
		},
		"delete": func() error {
			return second(client.DeleteSchedule(rival, &agentv1.DeleteScheduleRequest{ScheduleId: "mine"}))
		},
	} {
		err := call()
		missing, _ := detail[*errdetails.ResourceInfo](err)
		if status.Code(err) != codes.NotFound || missing.GetResourceType() != "schedule" || missing.GetResourceName() != "mine" {
			t.Errorf("%s another tenant's: %v, %v", name, err, missing)
		}
	}
	if _, err := client.ListSchedules(ctx, &agentv1.ListSchedulesRequest{PageToken: "nonsense"}); status.Code(err) != codes.InvalidArgument {
		t.Errorf("a made-up token: %v", err)
	}
	if _, err := client.ListSchedules(t.Context(), &agentv1.ListSchedulesRequest{}); status.Code(err) != codes.Unauthenticated {
		t.Errorf("no key: %v", err)
	}
}

func second[T any](_ T, err error) error { return err }

// detail is the error's first detail of a type.
func detail[T any](err error) (found T, ok bool) {
	for _, d := range status.Convert(err).Details() {
		if found, ok = d.(T); ok {
			return found, true
		}
	}
	return found, false
}

package server

import (
	"context"
	"crypto/sha256"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	agentv1 "github.com/runwire/runwire/gen/agent/v1"
	"github.com/runwire/runwire/interceptors"
	"github.com/runwire/runwire/store"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// records are the services of what is kept, over a SQLite file, behind the chain.
type records struct {
	*store.DB

	sessions agentv1.SessionServiceClient
	memories agentv1.MemoryServiceClient
	usage    agentv1.UsageServiceClient
	log      *logBook
}

// keep serves the records of a new file. The keys that may call are `TENANT run`
// and `TENANT admin`, of the tenants acme and rival.
func keep(t *testing.T) *records {
	t.Helper()
	db, err := store.OpenSQLite(t.Context(), filepath.Join(t.TempDir(), "runwire.db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	r := &records{DB: db, log: &logBook{}}
	var keys []interceptors.Key
	for _, tenant := range []string{"acme", "rival"} {
		for _, scope := range []interceptors.Scope{interceptors.ScopeRun, interceptors.ScopeAdmin} {
			secret := tenant + " " + string(scope)
			keys = append(keys, interceptors.Key{
				Name: secret, Tenant: tenant, SHA256: sha256.Sum256([]byte(secret)), Scopes: []interceptors.Scope{scope},
			})
		}
	}
	chain, err := interceptors.ServerOptions(interceptors.Config{Log: slog.New(slog.NewJSONHandler(r.log, nil)), Keys: keys, Errors: errorRules()})
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(chain...)
	agentv1.RegisterSessionServiceServer(server, newSessionService(db))
	agentv1.RegisterMemoryServiceServer(server, newMemoryService(db, 0))
	agentv1.RegisterUsageServiceServer(server, newUsageService(db))
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
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
	r.sessions, r.usage = agentv1.NewSessionServiceClient(conn), agentv1.NewUsageServiceClient(conn)
	r.memories = agentv1.NewMemoryServiceClient(conn)
	return r
}

// with is a call's context with a key.
func with(t *testing.T, key string) context.Context {
	t.Helper()
	return metadata.AppendToOutgoingContext(t.Context(), "x-api-key", key)
}

// wantError fails unless err is that status with these details.
func wantError(t *testing.T, err error, code codes.Code, message string, details ...proto.Message) {
	t.Helper()
	got := status.Convert(err)
	if got.Code() != code || !strings.Contains(got.Message(), message) || len(got.Details()) != len(details) {
		t.Fatalf("the error is %v with %v; want %v %q with %v", err, got.Details(), code, message, details)
	}
	for i, detail := range got.Details() {
		if m, ok := detail.(proto.Message); !ok || !proto.Equal(m, details[i]) {
			t.Errorf("detail %d is %v, want %v", i, detail, details[i])
		}
	}
}

func noSession(name string) *errdetails.ResourceInfo {
	return &errdetails.ResourceInfo{ResourceType: "session", ResourceName: name}
}

func wrong(field, description string) *errdetails.BadRequest {
	return &errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{
		{Field: field, Description: description},
	}}
}

const wrongToken = "must be a next_page_token of the same method and filter"

var march = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

package server

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/runwire/runwire/agent"
	"github.com/runwire/runwire/agent/model"
	agentv1 "github.com/runwire/runwire/gen/agent/v1"
	"github.com/runwire/runwire/store"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
)

// What callers are told of what the store says; never its words.
func TestErrorsOfTheStore(t *testing.T) {
	t.Parallel()
	reason := func(reason string) proto.Message { return &errdetails.ErrorInfo{Reason: reason, Domain: "runwire"} }
	retry := func(after time.Duration) proto.Message {
		return &errdetails.RetryInfo{RetryDelay: durationpb.New(after)}
	}
	for _, test := range []struct {
		err     error
		code    codes.Code
		message string
		detail  proto.Message
	}{
		{named("task", "t1", store.ErrNotFound), codes.NotFound, "no such task", &errdetails.ResourceInfo{ResourceType: "task", ResourceName: "t1"}},
		{store.ErrPageToken, codes.InvalidArgument, "invalid request: page_token: " + wrongToken, wrong("page_token", wrongToken)},
		{store.ErrInvalid, codes.InvalidArgument, "invalid request: a text in it cannot be kept, such as one with a NUL character", wrong("", "a text in it cannot be kept, such as one with a NUL character")},
		{store.ErrSessionBusy, codes.Aborted, "another run goes on in this session", reason("SESSION_BUSY")},
		{store.ErrIdempotencyConflict, codes.AlreadyExists, "this idempotency key was used with another request", reason("IDEMPOTENCY_KEY_REUSED")},
		{&agent.SchemaError{Err: errors.New("no JSON")}, codes.InvalidArgument, "invalid request: response_schema: no JSON", wrong("response_schema", "no JSON")},
		{store.ErrNotPending, codes.FailedPrecondition, "no such tool call of this task waits for a decision", reason("APPROVAL_NOT_PENDING")},
		{store.ErrFull, codes.FailedPrecondition, "this user has as many memories as a user may have: delete some of them first", reason("MEMORIES_FULL")},
		{&agent.ApprovalError{Calls: []model.ToolCall{{Name: "mail.send"}}}, codes.FailedPrecondition, `the tool "mail.send" needs a person's approval: submit this as a task`, reason("APPROVAL_NEEDED")},
		{store.ErrExists, codes.AlreadyExists, "this id is taken", reason("ID_TAKEN")},
		{store.ErrUnavailable, codes.Unavailable, "the database is unavailable", retry(2 * time.Second)},
		{store.ErrClosed, codes.Unavailable, "the server is shutting down", retry(time.Second)},
	} {
		err := fmt.Errorf("secret: %w", test.err)
		for _, rule := range errorRules() {
			if told := rule(err); told != nil {
				wantError(t, told, test.code, test.message, test.detail)
				if got := told.GRPCStatus().Message(); got != test.message {
					t.Errorf("%v is told as %q", err, got)
				}
				err = nil
				break
			}
		}
		if err != nil {
			t.Errorf("no rule for %v", err)
		}
	}
}

// What nobody has thought of is not told, nor is a row that is not there and
// that the handler has not named.
func TestOtherErrorsHaveNoRule(t *testing.T) {
	t.Parallel()
	for _, err := range []error{
		errors.New("secret"), store.ErrNotFound, store.ErrFenced, context.Canceled,
		named("task", "t1", errors.New("secret")), named("task", "t1", nil),
	} {
		for i, rule := range errorRules() {
			if told := rule(err); told != nil {
				t.Errorf("rule %d tells %v of %v", i, told, err)
			}
		}
	}
}

// A database that is gone is no bug, and comes back.
func TestADatabaseThatIsGone(t *testing.T) {
	t.Parallel()
	r := keep(t)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := r.sessions.GetSession(with(t, "acme run"), &agentv1.GetSessionRequest{SessionId: "chat"})
	wantError(t, err, codes.Unavailable, "the server is shutting down",
		&errdetails.RetryInfo{RetryDelay: durationpb.New(retryShuttingDown)})
}

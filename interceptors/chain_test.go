package interceptors

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
)

var errNoAgent = errors.New("no such agent")

// refusing is a limiter for whose user "busy" it is too early.
type refusing struct{}

func (refusing) Acquire(_ context.Context, tenant, user string) (func(), error) {
	switch user {
	case "busy":
		return nil, &LimitError{RetryAfter: 1500 * time.Millisecond, Exceeded: []ExceededLimit{
			{Subject: "user:busy", Description: "at most 1 runs in 1m0s for a user of " + tenant},
		}}
	case "broken":
		return nil, errors.New("limiter lost its memory")
	default:
		return func() {}, nil
	}
}

// behaviour is what the handler does with each message that the table sends.
func behaviour(ctx context.Context, message string) error {
	SetRun(ctx, "run-1", "default")
	switch message {
	case "panic":
		panic("secret value")
	case "unknown":
		return errors.New("secret cause")
	case "mapped":
		return fmt.Errorf("looking for an agent: %w", errNoAgent)
	case "own":
		return fmt.Errorf("secret context: %w", Unavailable("the model is down", 2*time.Second))
	case "foreign":
		return status.Error(codes.NotFound, "secret: no row in table")
	case "foreign cancelled":
		return status.Error(codes.Canceled, "secret: upstream cancelled")
	case "deadline":
		return fmt.Errorf("secret: %w", context.DeadlineExceeded)
	default:
		return nil
	}
}

func testRules() []ErrorRule {
	return []ErrorRule{func(err error) *Error {
		if errors.Is(err, errNoAgent) {
			return NotFound("agent", "ghost")
		}
		return nil
	}}
}

func errorInfo(reason string, metadata map[string]string) *errdetails.ErrorInfo {
	return &errdetails.ErrorInfo{Reason: reason, Domain: "runwire", Metadata: metadata}
}

func violation(field, description string) *errdetails.BadRequest_FieldViolation {
	return &errdetails.BadRequest_FieldViolation{Field: field, Description: description}
}

func badRequest(violations ...*errdetails.BadRequest_FieldViolation) *errdetails.BadRequest {
	return &errdetails.BadRequest{FieldViolations: violations}
}

// A call is answered and logged in the same way, be it unary or a stream.
func TestUnaryAndStreamingCallsAlike(t *testing.T) {
	t.Parallel()
	const needKey = "an API key is needed: send it as `x-api-key: KEY` or `authorization: Bearer KEY`"
	key := []string{"x-api-key", runKey}
	known := map[string]string{"tenant": "acme", "key": "runner"}
	ran := map[string]string{"tenant": "acme", "key": "runner", "user": "alice", "run_id": "run-1", "agent": "default"}
	internal := errorInfo("INTERNAL", map[string]string{"run_id": "run-1"})
	malformed := badRequest(violation("", "the request is not a protobuf message of the method's type"))
	text := func(field protowire.Number, value string) []byte {
		return protowire.AppendString(protowire.AppendTag(nil, field, protowire.BytesType), value)
	}

	tests := map[string]struct {
		header  []string
		request []byte
		code    codes.Code
		message string
		details []proto.Message
		level   slog.Level
		attrs   map[string]string // beside method, code, duration_ms and peer
	}{
		"ok": {
			header: key, request: request(t, "hello", "alice"),
			attrs: ran,
		},
		"bearer": {
			header: []string{"authorization", "bEaReR  " + runKey}, request: request(t, "hello", "alice"),
			attrs: ran,
		},
		"no key": {
			request: request(t, "hello", "alice"),
			code:    codes.Unauthenticated, message: needKey,
			details: []proto.Message{errorInfo("API_KEY_MISSING", nil)},
		},
		"wrong key": {
			header: []string{"x-api-key", "guess"}, request: request(t, "hello", "alice"),
			code: codes.Unauthenticated, message: "this API key is not known here",
			details: []proto.Message{errorInfo("API_KEY_INVALID", nil)},
		},
		"key in the wrong header": {
			header: []string{"api-key", runKey}, request: request(t, "hello", "alice"),
			code: codes.Unauthenticated,
			message: "the header `api-key` is not read for an API key: " +
				"send it as `x-api-key: KEY` or `authorization: Bearer KEY`",
			details: []proto.Message{errorInfo("API_KEY_MISSING", nil)},
		},
		"key without bearer": {
			header: []string{"authorization", runKey}, request: request(t, "hello", "alice"),
			code: codes.Unauthenticated,
			message: "the header `authorization` does not begin with `Bearer`; no API key was read: " +
				"send it as `x-api-key: KEY` or `authorization: Bearer KEY`",
			details: []proto.Message{errorInfo("API_KEY_MISSING", nil)},
		},
		"key lacks the scope": {
			header: []string{"x-api-key", tasksKey}, request: request(t, "hello", "alice"),
			code: codes.PermissionDenied, message: "this API key lacks the scope `run`",
			details: []proto.Message{errorInfo("SCOPE_MISSING", map[string]string{"scope": "run"})},
			attrs:   map[string]string{"tenant": "default", "key": "tasker"},
		},
		"a stranger's garbage": {
			request: []byte{0xff, 0xff},
			code:    codes.Unauthenticated, message: needKey,
			details: []proto.Message{errorInfo("API_KEY_MISSING", nil)},
		},
		"several invalid fields": {
			header: key, request: append(request(t, "", strings.Repeat("é", 129)),
				protowire.AppendVarint(protowire.AppendTag(nil, 5, protowire.VarintType), ^uint64(0))...),
			code: codes.InvalidArgument,
			message: "invalid request: message: must be at least 1 characters; " +
				"user_id: must be at most 128 characters; max_tokens: must be greater than or equal to 0",
			details: []proto.Message{badRequest(
				violation("message", "must be at least 1 characters"),
				violation("user_id", "must be at most 128 characters"),
				violation("max_tokens", "must be greater than or equal to 0"),
			)},
			attrs: known,
		},
		"text that is not UTF-8": {
			header: key, request: append(text(1, "hello"), text(2, "al\xffice")...),
			code: codes.InvalidArgument, message: "invalid request: user_id: must be valid UTF-8",
			details: []proto.Message{badRequest(violation("user_id", "must be valid UTF-8"))},
			attrs:   known,
		},
		"garbage": {
			header: key, request: []byte("GET / HTTP/1.1\r\n"),
			code:    codes.InvalidArgument,
			message: "invalid request: the request is not a protobuf message of the method's type",
			details: []proto.Message{malformed}, attrs: known,
		},
		"a request cut short": {
			header: key, request: request(t, "hello", "alice")[:10],
			code:    codes.InvalidArgument,
			message: "invalid request: the request is not a protobuf message of the method's type",
			details: []proto.Message{malformed}, attrs: known,
		},
		"an unknown field": {
			header: key, request: append(request(t, "hello", "alice"), text(4000, "from the future")...),
			attrs: ran,
		},
		"over a limit": {
			header: key, request: request(t, "hello", "busy"),
			code:    codes.ResourceExhausted,
			message: "limit reached: at most 1 runs in 1m0s for a user of acme; retry in 1.5s",
			details: []proto.Message{
				&errdetails.RetryInfo{RetryDelay: durationpb.New(1500 * time.Millisecond)},
				&errdetails.QuotaFailure{Violations: []*errdetails.QuotaFailure_Violation{
					{Subject: "user:busy", Description: "at most 1 runs in 1m0s for a user of acme"},
				}},
			},
			level: slog.LevelWarn,
			attrs: map[string]string{"tenant": "acme", "key": "runner", "user": "busy"},
		},
		"a limiter that fails": {
			header: key, request: request(t, "hello", "broken"),
			code: codes.Internal, message: "internal error",
			details: []proto.Message{errorInfo("INTERNAL", nil)},
			level:   slog.LevelError,
			attrs: map[string]string{
				"tenant": "acme", "key": "runner", "user": "broken",
				"error": "asking the limiter: limiter lost its memory",
			},
		},
		"a panic": {
			header: key, request: request(t, "panic", "alice"),
			code: codes.Internal, message: "internal error", details: []proto.Message{internal},
			level: slog.LevelError, attrs: with(ran, "error", "panic: secret value", "stack", "behaviour"),
		},
		"an unknown error": {
			header: key, request: request(t, "unknown", "alice"),
			code: codes.Internal, message: "internal error", details: []proto.Message{internal},
			level: slog.LevelError, attrs: with(ran, "error", "secret cause"),
		},
		"an error in the table": {
			header: key, request: request(t, "mapped", "alice"),
			code: codes.NotFound, message: "no such agent",
			details: []proto.Message{&errdetails.ResourceInfo{ResourceType: "agent", ResourceName: "ghost"}},
			attrs:   with(ran, "error", "looking for an agent: no such agent"),
		},
		"an error made for callers": {
			header: key, request: request(t, "own", "alice"),
			code: codes.Unavailable, message: "the model is down",
			details: []proto.Message{&errdetails.RetryInfo{RetryDelay: durationpb.New(2 * time.Second)}},
			level:   slog.LevelWarn, attrs: ran,
		},
		"a library's status": {
			header: key, request: request(t, "foreign", "alice"),
			code: codes.Internal, message: "internal error", details: []proto.Message{internal},
			level: slog.LevelError,
			attrs: with(ran, "error", "rpc error: code = NotFound desc = secret: no row in table"),
		},
		"a library's cancellation": {
			header: key, request: request(t, "foreign cancelled", "alice"),
			code: codes.Canceled, message: "the call was cancelled", attrs: ran,
		},
		"a deadline": {
			header: key, request: request(t, "deadline", "alice"),
			code: codes.DeadlineExceeded, message: "the call's deadline has passed", attrs: ran,
		},
	}
	for kind, call := range callers() {
		for name, test := range tests {
			t.Run(kind+"/"+name, func(t *testing.T) {
				t.Parallel()
				log := newLines()
				conn := serve(t, Config{
					Log: slog.New(log), Keys: testKeys(), Limiter: refusing{}, Errors: testRules(),
				}, agents{run: behaviour})
				err := call(withHeader(t.Context(), test.header...), conn, test.request)
				wantStatus(t, err, test.code, test.message, test.details...)
				wantLine(t, <-log, test.level, test.code, test.attrs)
			})
		}
	}
}

func with(attrs map[string]string, kv ...string) map[string]string {
	attrs = maps.Clone(attrs)
	for i := 0; i < len(kv); i += 2 {
		attrs[kv[i]] = kv[i+1]
	}
	return attrs
}

// wantLine fails unless the line is the access log's, with exactly those
// attributes beside the ones that every line has.
func wantLine(t *testing.T, got line, level slog.Level, code codes.Code, attrs map[string]string) {
	t.Helper()
	names := map[codes.Code]string{
		codes.OK: "OK", codes.Canceled: "CANCELLED", codes.DeadlineExceeded: "DEADLINE_EXCEEDED",
		codes.InvalidArgument: "INVALID_ARGUMENT", codes.NotFound: "NOT_FOUND", codes.Internal: "INTERNAL",
		codes.Unauthenticated: "UNAUTHENTICATED", codes.PermissionDenied: "PERMISSION_DENIED",
		codes.ResourceExhausted: "RESOURCE_EXHAUSTED", codes.Unavailable: "UNAVAILABLE",
	}
	if got.message != "rpc" || got.level != level || got.attrs["code"] != names[code] {
		t.Errorf("line is %v %q %q, want %v \"rpc\" %q", got.level, got.message, got.attrs["code"], level, names[code])
	}
	if !strings.HasPrefix(got.attrs["method"], "/agent.v1.AgentService/") || got.attrs["duration_ms"] == "" {
		t.Errorf("line lacks its method or duration: %v", got.attrs)
	}
	if !strings.Contains(got.attrs["stack"], attrs["stack"]) {
		t.Errorf("stack %q does not name %q", got.attrs["stack"], attrs["stack"])
	}
	for _, always := range []string{"method", "code", "duration_ms", "peer", "stack"} {
		delete(got.attrs, always)
	}
	wanted := maps.Clone(attrs)
	delete(wanted, "stack")
	if !maps.Equal(got.attrs, wanted) {
		t.Errorf("attributes are %v, want %v", got.attrs, wanted)
	}
}

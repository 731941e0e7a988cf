package interceptors

import (
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"
)

// domain is where the reasons in our ErrorInfos mean something.
const domain = "runwire"

// Error is what a caller is told: a gRPC status whose words and details are
// public. The chain passes it on unchanged; any other error it translates.
type Error struct{ status *status.Status }

// Error returns the code and the public sentence.
func (e *Error) Error() string { return e.status.String() }

// GRPCStatus returns the status, for grpc.
func (e *Error) GRPCStatus() *status.Status { return e.status }

// InvalidArgument says which fields of a request are wrong.
func InvalidArgument(violations ...*errdetails.BadRequest_FieldViolation) *Error {
	said := make([]string, len(violations))
	for i, v := range violations {
		said[i] = strings.TrimPrefix(v.GetField()+": "+v.GetDescription(), ": ")
	}
	return newError(codes.InvalidArgument, "invalid request: "+strings.Join(said, "; "),
		&errdetails.BadRequest{FieldViolations: violations})
}

// Unauthenticated says why nobody knows who calls.
func Unauthenticated(reason, message string) *Error {
	return newError(codes.Unauthenticated, message, &errdetails.ErrorInfo{Reason: reason, Domain: domain})
}

// PermissionDenied says what the caller may not do. Metadata may be nil.
func PermissionDenied(reason, message string, metadata map[string]string) *Error {
	return newError(codes.PermissionDenied, message,
		&errdetails.ErrorInfo{Reason: reason, Domain: domain, Metadata: metadata})
}

// NotFound says that there is no such thing, or none that the caller may see.
func NotFound(kind, name string) *Error {
	return newError(codes.NotFound, "no such "+kind, &errdetails.ResourceInfo{ResourceType: kind, ResourceName: name})
}

// AlreadyExists says what is taken.
func AlreadyExists(reason, message string) *Error {
	return newError(codes.AlreadyExists, message, &errdetails.ErrorInfo{Reason: reason, Domain: domain})
}

// FailedPrecondition says why the call cannot be done as things stand.
func FailedPrecondition(reason, message string) *Error {
	return newError(codes.FailedPrecondition, message, &errdetails.ErrorInfo{Reason: reason, Domain: domain})
}

// ResourceExhausted says which limits were reached and when to come back.
func ResourceExhausted(message string, retry time.Duration, violations ...*errdetails.QuotaFailure_Violation) *Error {
	return newError(codes.ResourceExhausted, message,
		&errdetails.RetryInfo{RetryDelay: durationpb.New(retry)},
		&errdetails.QuotaFailure{Violations: violations})
}

// Aborted says why the call was given up in the middle.
func Aborted(reason, message string) *Error {
	return newError(codes.Aborted, message, &errdetails.ErrorInfo{Reason: reason, Domain: domain})
}

// Unavailable says that the call cannot be served now, and when to come back.
func Unavailable(message string, retry time.Duration) *Error {
	return newError(codes.Unavailable, message, &errdetails.RetryInfo{RetryDelay: durationpb.New(retry)})
}

// Internal says that there is a bug, and nothing of what it is. RunID is empty
// where no run had begun.
func Internal(runID string) *Error {
	info := &errdetails.ErrorInfo{Reason: "INTERNAL", Domain: domain}
	if runID != "" {
		info.Metadata = map[string]string{"run_id": runID}
	}
	return newError(codes.Internal, "internal error", info)
}

// newError makes an Error. A detail that cannot be encoded costs the details,
// not the error.
func newError(code codes.Code, message string, details ...protoadapt.MessageV1) *Error {
	bare := status.New(code, message)
	if detailed, err := bare.WithDetails(details...); err == nil {
		return &Error{status: detailed}
	}
	return &Error{status: bare}
}

package interceptors

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"unicode/utf8"

	"buf.build/go/protovalidate"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/proto"
)

// rules are those of the contract. Those of a message are compiled when the
// first comes in: all of them together would take a server as long as the rest
// of its start.
var rules = sync.OnceValues(func() (protovalidate.Validator, error) { //nolint:gochecknoglobals // the contract is one, too
	return protovalidate.New()
})

// Prepare does now what the first ServerOptions would need a while for. It may
// be called while other things are opened.
func Prepare() { _, _ = rules() } // ServerOptions tells the error

// validation checks requests against the rules that stand in the contract.
func validation() (requestCheck, error) {
	validator, err := rules()
	if err != nil {
		return nil, fmt.Errorf("reading the contract's rules: %w", err)
	}
	return func(ctx context.Context, req any) (func(), error) {
		message, ok := req.(proto.Message)
		if !ok {
			return nil, internalError(ctx, fmt.Errorf("request is a %T", req))
		}
		if field, marked := unreadable(message); marked {
			return nil, unreadableRequest(field)
		}
		invalid := validator.Validate(message)
		if from, ok := message.(userRequest); ok && utf8.RuneCountInString(from.GetUserId()) <= longestUser {
			callFrom(ctx).user = from.GetUserId()
		}
		if invalid != nil {
			return nil, invalidRequest(ctx, invalid)
		}
		return nil, nil //nolint:nilnil // nothing to do when the call has ended.
	}, nil
}

// longestUser is how many characters of a user id are logged: what the contract
// allows.
const longestUser = 128

// userRequest is a request on behalf of a user.
type userRequest interface{ GetUserId() string }

func unreadableRequest(field string) error {
	if field != "" {
		return InvalidArgument(&errdetails.BadRequest_FieldViolation{Field: field, Description: "must be valid UTF-8"})
	}
	return InvalidArgument(&errdetails.BadRequest_FieldViolation{
		Description: "the request is not a protobuf message of the method's type",
	})
}

// invalidRequest translates the validator's error: one violation a field's rule.
func invalidRequest(ctx context.Context, err error) error {
	invalid, ok := errors.AsType[*protovalidate.ValidationError](err)
	if !ok {
		return internalError(ctx, fmt.Errorf("validating a request: %w", err))
	}
	violations := make([]*errdetails.BadRequest_FieldViolation, len(invalid.Violations))
	for i, v := range invalid.Violations {
		violations[i] = &errdetails.BadRequest_FieldViolation{
			Field:       protovalidate.FieldPathString(v.Proto.GetField()),
			Description: v.Proto.GetMessage(),
		}
	}
	return InvalidArgument(violations...)
}

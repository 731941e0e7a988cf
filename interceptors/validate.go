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
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	agentv1 "github.com/runwire/runwire/gen/agent/v1"
)

// rules are those of the contract, compiled once in a process. One that does
// not compile is found at start.
var rules = sync.OnceValues(func() (protovalidate.Validator, error) { //nolint:gochecknoglobals // the contract is one, too
	return protovalidate.New(protovalidate.WithMessageDescriptors(requestTypes()...))
})

// Prepare does now what the first ServerOptions would need a while for. It may
// be called while other things are opened.
func Prepare() { _, _ = rules() } // ServerOptions tells the error

// validation checks requests against the rules that stand in the contract.
func validation() (requestCheck, error) {
	validator, err := rules()
	if err != nil {
		return nil, fmt.Errorf("compiling the contract's rules: %w", err)
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

// requestTypes are the requests of every method in the contract.
func requestTypes() []protoreflect.MessageDescriptor {
	var types []protoreflect.MessageDescriptor
	contract := agentv1.File_agent_v1_agent_service_proto.Package()
	protoregistry.GlobalFiles.RangeFilesByPackage(contract, func(file protoreflect.FileDescriptor) bool {
		for i := range file.Services().Len() {
			methods := file.Services().Get(i).Methods()
			for j := range methods.Len() {
				types = append(types, methods.Get(j).Input())
			}
		}
		return true
	})
	return types
}

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

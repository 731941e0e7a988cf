package interceptors

import (
	"testing"

	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	agentv1 "github.com/runwire/runwire/gen/agent/v1"
)

// No rule of the contract is wrong, for the first call that it is about would
// be told so.
func TestTheContractsRulesCompile(t *testing.T) {
	t.Parallel()
	types := requestTypes()
	if _, err := protovalidate.New(protovalidate.WithDisableLazy(), protovalidate.WithMessageDescriptors(types...)); err != nil {
		t.Error(err)
	}
	if len(types) < len(scopes) {
		t.Errorf("the contract has %d methods, and these are %d requests", len(scopes), len(types))
	}
}

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

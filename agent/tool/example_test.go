package tool_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/runwire/runwire/agent/tool"
)

func ExampleBuiltin() {
	calculator, _ := tool.Builtin("calculator")
	fmt.Println(calculator.Call(context.Background(), `{"expression": "0.1 + 0.2"}`))
	// Output: 0.3 <nil>
}

func ExampleNew() {
	greet, err := tool.New(tool.Definition{
		Name:        "greet",
		Description: "Greets a person.",
		Parameters:  json.RawMessage(`{"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}`),
	}, func(_ context.Context, arguments json.RawMessage) (string, error) {
		var args struct{ Name string }
		err := json.Unmarshal(arguments, &args)
		return "hello, " + args.Name, err
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(greet.Call(context.Background(), `{"name": "Ada"}`))

	_, err = greet.Call(context.Background(), `{}`)
	if failure, ok := errors.AsType[*tool.Error](err); ok {
		fmt.Println(failure.Type, "-", failure.Message)
	}
	// Output:
	// hello, Ada <nil>
	// invalid_arguments - the arguments do not fit the tool's schema: required: missing properties: ["name"]
}

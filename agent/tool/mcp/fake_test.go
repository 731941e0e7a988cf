package mcp

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// fake is a server on standard input and output, in a process of its own.
func fake(role string) {
	switch role {
	case "deaf": // it takes what it is told, and says nothing
		_, _ = io.Copy(io.Discard, os.Stdin)
	case "full": // it answers until its input is no longer read
		scripted(os.Stdin, "wait")
	case "stubborn": // it goes on when its input ends
		scripted(os.Stdin, "")
		select {}
	case "chatty":
		fmt.Fprintln(os.Stdout, "Welcome to the server!\n\n{\"half\": \n[1, 2]\n{}\n{\"jsonrpc\": \"2.0\"}")
		serveTools()
	case "dies at once":
		die()
	case "dies of discovery":
		scripted(os.Stdin, "die")
	case "odd":
		scripted(os.Stdin, "")
	default:
		serveTools()
	}
}

type said struct {
	Text string `json:"text"`
}

// serveTools is a server of tools that do harm.
func serveTools() {
	server := mcp.NewServer(&mcp.Implementation{Name: "fake"}, nil)
	add := func(name string, hints *mcp.ToolAnnotations, do func(context.Context, *mcp.CallToolRequest, said) (*mcp.CallToolResult, any, error)) {
		mcp.AddTool(server, &mcp.Tool{Name: name, Description: "does " + name, Annotations: hints}, do)
	}
	say := func(text string) (*mcp.CallToolResult, any, error) {
		return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: text}}}, nil, nil
	}
	add("echo", &mcp.ToolAnnotations{ReadOnlyHint: true}, func(_ context.Context, _ *mcp.CallToolRequest, in said) (*mcp.CallToolResult, any, error) {
		return say(in.Text)
	})
	add("pid", &mcp.ToolAnnotations{IdempotentHint: true}, func(context.Context, *mcp.CallToolRequest, said) (*mcp.CallToolResult, any, error) {
		return say(fmt.Sprint(os.Getpid()))
	})
	add("key", nil, func(_ context.Context, request *mcp.CallToolRequest, _ said) (*mcp.CallToolResult, any, error) {
		return say(fmt.Sprint(request.Params.Meta[callKeyField]))
	})
	add("environment", nil, func(context.Context, *mcp.CallToolRequest, said) (*mcp.CallToolResult, any, error) {
		return say(strings.Join(os.Environ(), "\n"))
	})
	add("hang", nil, func(context.Context, *mcp.CallToolRequest, said) (*mcp.CallToolResult, any, error) {
		select {}
	})
	// It answers once it is cancelled, to the standard error of its process.
	add("wait", nil, func(ctx context.Context, _ *mcp.CallToolRequest, _ said) (*mcp.CallToolResult, any, error) {
		fmt.Fprintln(os.Stderr, "waiting")
		<-ctx.Done()
		fmt.Fprintln(os.Stderr, "the wait was cancelled")
		return nil, nil, ctx.Err()
	})
	add("large", nil, func(context.Context, *mcp.CallToolRequest, said) (*mcp.CallToolResult, any, error) {
		return say(strings.Repeat("0123456789", 1<<17))
	})
	add("die", nil, func(context.Context, *mcp.CallToolRequest, said) (*mcp.CallToolResult, any, error) {
		die()
		return nil, nil, nil
	})
	add("garbage", nil, func(context.Context, *mcp.CallToolRequest, said) (*mcp.CallToolResult, any, error) {
		fmt.Fprintln(os.Stdout, `{"jsonrpc": "2.0", "id": {}, "result": 5}`+"\n"+strings.Repeat("x", 100_000)+"\n"+`{"jsonrpc": "1.0", "id": 3}`)
		return say("after all that")
	})
	add("fail", nil, func(_ context.Context, _ *mcp.CallToolRequest, in said) (*mcp.CallToolResult, any, error) {
		result, _, _ := say(in.Text)
		result.IsError = true
		return result, nil, nil
	})
	add("grow", nil, func(context.Context, *mcp.CallToolRequest, said) (*mcp.CallToolResult, any, error) {
		add("grown", nil, func(context.Context, *mcp.CallToolRequest, said) (*mcp.CallToolResult, any, error) {
			return say("it has grown")
		})
		server.RemoveTools("grow")
		return say("growing")
	})
	_ = server.Run(context.Background(), &mcp.StdioTransport{})
}

// die ends this process as a crash does.
func die() {
	if self, err := os.FindProcess(os.Getpid()); err == nil {
		_ = self.Kill()
	}
	select {}
}

// oddTools is a list that a server of the SDK would not send.
const oddTools = `[
	{"name": "fine", "inputSchema": {"type": "object", "$schema": "http://json-schema.org/draft-07/schema#", "properties": {"text": {"type": "string"}}}},
	{"name": "no.object", "inputSchema": {"type": "string"}},
	{"name": "circle", "inputSchema": {"type": "object", "$ref": "#"}},
	{"name": "draft-04", "inputSchema": {"type": "object", "$schema": "http://json-schema.org/draft-04/schema#"}},
	{"name": "with space", "inputSchema": {"type": "object"}},
	{"name": "a/b", "inputSchema": {"type": "object"}},
	{"name": "", "inputSchema": {"type": "object"}},
	{"name": "LONG", "inputSchema": {"type": "object"}},
	{"name": "heavy", "inputSchema": {"type": "object", "description": "HEAVY"}},
	{"name": "fine", "inputSchema": {"type": "object"}, "description": "again"},
	{"name": "no-schema"},
	{"name": "titled", "title": "A title", "inputSchema": {"type": "object"}},
	null
]`

const oddAnswer = `{"content": [
	{"type": "text", "text": "one"},
	{"type": "image", "mimeType": "image/png", "data": "aGVsbG8="},
	{"type": "audio", "mimeType": "audio/wav", "data": "aGVsbG8="},
	{"type": "resource_link", "name": "a report", "uri": "file:///report"},
	{"type": "resource", "resource": {"uri": "file:///note", "mimeType": "text/plain", "text": "of a note"}},
	{"type": "resource", "resource": {"uri": "file:///blob", "mimeType": "application/pdf", "blob": "aGVsbG8="}},
	{"type": "text", "text": "two"}
], "structuredContent": {"not": "shown"}}`

// hugeAnswer is one of 50 MiB, its id not yet in it.
func hugeAnswer() string {
	return `"result": {"content": [{"type": "text", "text": "` + strings.Repeat(`{\"id\":7},`, 5<<20) + `"}]}`
}

// scripted answers by hand. A discovery makes it die, if told so; after the
// list of its tools it may stop to read its input.
func scripted(input io.Reader, habit string) {
	tools := strings.ReplaceAll(oddTools, "LONG", strings.Repeat("n", 70))
	tools = strings.ReplaceAll(tools, "HEAVY", strings.Repeat("h", 70_000))
	lines := bufio.NewScanner(input)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		var request struct {
			ID     json.RawMessage `json:"id"`
			Method string          `json:"method"`
			Params struct {
				Arguments struct {
					Text string `json:"text"`
				} `json:"arguments"`
			} `json:"params"`
		}
		if json.Unmarshal(lines.Bytes(), &request) != nil || request.ID == nil {
			continue
		}
		answer := `"error": {"code": -32601, "message": "no such method"}`
		switch request.Method {
		case "server/discover":
			if habit == "die" {
				die()
			}
		case "initialize":
			answer = `"result": {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": {"name": "odd", "version": "1"}}`
		case "tools/list":
			answer = `"result": {"tools": ` + tools + `}`
		case "tools/call":
			switch text := request.Params.Arguments.Text; text {
			case "structured":
				answer = `"result": {"content": [], "structuredContent": {"sum": 3}}`
			case "nothing":
				answer = `"result": {"content": []}`
			case "silent failure":
				answer = `"result": {"content": [], "isError": true}`
			case "pid":
				answer = fmt.Sprintf(`"result": {"content": [{"type": "text", "text": "%d"}]}`, os.Getpid())
			case "huge":
				answer = hugeAnswer()
			case "refused":
				answer = `"error": {"code": -32602, "message": "not today"}`
			default:
				answer = `"result": ` + oddAnswer
			}
		}
		fmt.Fprintln(os.Stdout, strings.NewReplacer("\n", "", "\t", "").Replace(`{"jsonrpc": "2.0", `+answer+`, "id": `+string(request.ID)+`}`))
		if habit == "wait" && request.Method == "tools/list" {
			select {}
		}
	}
}

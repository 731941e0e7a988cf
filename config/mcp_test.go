package config

import (
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"
)

const withServers = `
agents:
  a: {model: offline, tools: [calculator, http_get, "search.*", files.read_file, "*les.write_*"]}
  b: {model: offline, tools: ["*"]}
  c: {model: offline, tools: ["f*"]}
mcp_servers:
  search:
    url: "https://search.internal/mcp"
    headers: {Authorization: "Bearer ${TOKEN}", x-team: "a"}
    timeout: 1m
  files:
    command: [npx, -y, "@modelcontextprotocol/server-filesystem", "${DIR}"]
    env: {NODE_ENV: production, SECRET: "${TOKEN}"}
    connect_timeout: 2m
    tools:
      "write_*": {effect: once, requires_approval: true}
      "read_*": {effect: pure, timeout: 5s}
      "*": {}
http_get: {hosts: [example.com, "*.internal.example", "2001:db8::1"], allow_private: true}
`

func TestServersAndTheirTools(t *testing.T) {
	t.Parallel()
	file := mustParse(t, withServers, "TOKEN", "s3cret", "DIR", "/data")
	equal(t, file.MCPServers, []MCPServer{
		{
			Name:    "files",
			Command: []string{"npx", "-y", "@modelcontextprotocol/server-filesystem", "/data"},
			Env:     map[string]Secret{"NODE_ENV": "production", "SECRET": "s3cret"},
			Tools: []ToolRule{
				{Pattern: "write_*", Effect: "once", RequiresApproval: true},
				{Pattern: "read_*", Effect: "pure", Timeout: 5 * time.Second},
				{Pattern: "*"},
			},
			ConnectTimeout: 2 * time.Minute,
		},
		{
			Name: "search", URL: "https://search.internal/mcp",
			Headers: map[string]Secret{"Authorization": "Bearer s3cret", "x-team": "a"},
			Timeout: time.Minute,
		},
	})
	equal(t, file.HTTPGet, &HTTPGet{Hosts: []string{"example.com", "*.internal.example", "2001:db8::1"}, AllowPrivate: true})
	a, b, c := file.Agents[0], file.Agents[1], file.Agents[2]
	equal(t, a.Tools, []string{"calculator", "http_get"})
	equal(t, a.ServerTools, []string{"search.*", "files.read_file", "*les.write_*"})
	equal(t, b.Tools, append(builtIn().Tools, "http_get"))
	equal(t, b.ServerTools, []string{"*"})
	equal(t, c.ServerTools, []string{"f*"})
	if printed := fmt.Sprintf("%+v %#v", file.MCPServers, file.MCPServers); strings.Contains(printed, "s3cret") {
		t.Errorf("shows a secret: %s", printed)
	}
}

func TestWithoutServersThereAreNone(t *testing.T) {
	t.Parallel()
	file := mustParse(t, "agents: {a: {model: offline, tools: ['*']}}\nmcp_servers:\nhttp_get:")
	equal(t, file.MCPServers, []MCPServer(nil))
	equal(t, file.HTTPGet, (*HTTPGet)(nil))
	equal(t, file.Agents[0].Tools, builtIn().Tools)
	equal(t, file.Agents[0].ServerTools, []string(nil))
}

func TestEachMistakeInServers(t *testing.T) {
	t.Parallel()
	inServer := func(fields string) string { return "mcp_servers: {s: {" + fields + "}}" }
	const (
		serverName = `a server's name is 1 to 32 letters, digits, "_" and "-"`
		aHeader    = "a header's name is letters, digits and -, and none of the protocol's own"
		aHost      = "wants a host such as example.com or *.example.com, without a scheme, a port or a path"
		addHosts   = `add "hosts: [example.com]"`
	)
	for name, c := range map[string]struct{ file, want string }{
		"a server's name with a dot":    {"mcp_servers: {a.b: {command: [x]}}", "1:15: mcp_servers.a.b: " + serverName},
		"a server's long name":          {"mcp_servers: {" + strings.Repeat("a", 33) + ": {command: [x]}}", "1:15: mcp_servers." + strings.Repeat("a", 33) + ": " + serverName},
		"a server called agent":         {"mcp_servers: {agent: {command: [x]}}", "1:15: mcp_servers.agent: agent is what the tools that are agents begin with; call the server otherwise"},
		"a server that is nowhere":      {"mcp_servers: {s: }", `1:15: mcp_servers.s: has no command and no url; add one, such as "url: https://mcp.example.com/mcp"`},
		"a server in two places":        {inServer(`command: [x], url: "http://h"`), "1:33: mcp_servers.s.url: there is a command already; keep one of the two"},
		"a command that is text":        {inServer("command: npx"), `1:28: mcp_servers.s.command: wants a list such as [npx, -y, "@scope/server"], not a single value`},
		"an empty command":              {inServer("command: []"), "1:28: mcp_servers.s.command: no program is named"},
		"a program without a name":      {inServer(`command: ["", x]`), "1:28: mcp_servers.s.command: no program is named"},
		"an argument that is a number":  {inServer("command: [x, 5]"), "1:32: mcp_servers.s.command[1]: wants text; write it in quotes"},
		"an address without a scheme":   {inServer(`url: "h/mcp"`), "1:24: mcp_servers.s.url: " + wantURL + `; did you mean "http://h/mcp"?`},
		"an address with a password":    {inServer(`url: "http://u:p@h/mcp"`), "1:24: mcp_servers.s.url: an address must not hold a user or a password: they would be seen in logs"},
		"headers of a program":          {inServer("command: [x], headers: {a: b}"), "1:33: mcp_servers.s.headers: headers are for servers with a url; give a program its secrets in env"},
		"an environment over HTTP":      {inServer(`url: "http://h", env: {a: b}`), "1:36: mcp_servers.s.env: env is for servers with a command; give a server over HTTP its secrets in headers"},
		"a header of the protocol":      {inServer(`url: "http://h", headers: {Mcp-Session-Id: b}`), "1:46: mcp_servers.s.headers.Mcp-Session-Id: " + aHeader},
		"a header of HTTP":              {inServer(`url: "http://h", headers: {host: b}`), "1:46: mcp_servers.s.headers.host: " + aHeader},
		"a header that is none":         {inServer(`url: "http://h", headers: {a b: c}`), `1:46: mcp_servers.s.headers["a b"]: ` + aHeader},
		"a header with a line break":    {inServer(`url: "http://h", headers: {a: "b\nc"}`), "1:49: mcp_servers.s.headers.a: has a line break or another control character"},
		"a header without a value":      {inServer(`url: "http://h", headers: {a: }`), "1:46: mcp_servers.s.headers.a: has no value"},
		"a variable's name":             {inServer("command: [x], env: {A-B: c}"), "1:39: mcp_servers.s.env.A-B: a variable's name is letters, digits and _"},
		"a server's unknown key":        {inServer("command: [x], comand: [x]"), `1:33: mcp_servers.s.comand: unknown key; did you mean "command"?`},
		"an unknown effect":             {inServer("command: [x], tools: {a: {effect: twice}}"), `1:53: mcp_servers.s.tools.a.effect: wants one of pure, idempotent, once, not "twice"`},
		"a pattern that is none":        {inServer(`command: [x], tools: {"[": {}}`), `1:41: mcp_servers.s.tools["["]: not a pattern; "*" stands for any characters`},
		"a rule's unknown key":          {inServer("command: [x], tools: {a: {approval: true}}"), `1:45: mcp_servers.s.tools.a.approval: unknown key; did you mean "requires_approval"?`},
		"a call that takes days":        {inServer("command: [x], timeout: 24h"), "1:42: mcp_servers.s.timeout: wants 1ms to 1h, not \"24h\""},
		"a tool of no server":           {inAgent("tools: [fils.x]") + "\nmcp_servers: {files: {command: [x]}}", `1:38: agents.a.tools[0]: no tool "fils.x"; did you mean "files.*"?`},
		"a server instead of its tools": {inAgent("tools: [files]") + "\nmcp_servers: {files: {command: [x]}}", `1:38: agents.a.tools[0]: no tool "files"; did you mean "files.*"?`},
		"a tool without a name":         {inAgent("tools: [search.]") + "\nmcp_servers: {search: {command: [x]}}", `1:38: agents.a.tools[0]: no tool "search."; did you mean "search.*"?`},
		"http_get without hosts":        {inAgent("tools: [http_get]"), `1:38: agents.a.tools[0]: http_get may ask no host; add "http_get: {hosts: [example.com]}" to the file`},
		"no hosts":                      {"http_get: {}", "1:1: http_get: allows no host; " + addHosts},
		"an empty list of hosts":        {"http_get: {hosts: []}", "1:1: http_get: allows no host; " + addHosts},
		"a host with a scheme":          {`http_get: {hosts: ["https://example.com"]}`, "1:20: http_get.hosts[0]: " + aHost},
		"a host with a port":            {`http_get: {hosts: ["example.com:80"]}`, "1:20: http_get.hosts[0]: " + aHost},
		"a pattern within a name":       {`http_get: {hosts: ["a*.example.com"]}`, "1:20: http_get.hosts[0]: " + aHost},
		"a host that is text":           {"http_get: {hosts: example.com}", `1:19: http_get.hosts: wants a list such as [example.com, "*.example.com"], not a single value`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := mistakesIn(t, c.file); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// The keys are taken from what an unknown one is told, so none can be forgotten.
func TestEveryKeyOfServersIsInTheTables(t *testing.T) {
	t.Parallel()
	text := documentation(t)
	for section, file := range map[string]string{
		"mcp_servers": "mcp_servers: {s: {command: [x], zzzz: 1}}",
		"tools":       "mcp_servers: {s: {command: [x], tools: {a: {zzzz: 1}}}}",
		"http_get":    "http_get: {hosts: [a], zzzz: 1}",
	} {
		_, names, _ := strings.Cut(mistakesIn(t, file), "choose from ")
		for name := range strings.SplitSeq(names, ", ") {
			if row := "| `" + name + "` |"; !strings.Contains(text, row) {
				t.Errorf("the documentation of %s has no %q", section, row)
			}
		}
	}
}

func TestTheFirstExampleHasServersWithEverything(t *testing.T) {
	t.Parallel()
	file := mustParse(t, examples(t)[0], "LOCAL_API_KEY", "s3cret", "CLAUDE_API_KEY", "s3cret", "RUNWIRE_WEBHOOK_SECRET", okSecret)
	files, search := file.MCPServers[0], file.MCPServers[1]
	files.URL, files.Headers, files.ConnectTimeout = search.URL, search.Headers, search.ConnectTimeout
	for _, part := range []any{files, files.Tools[0], *file.HTTPGet} {
		v := reflect.ValueOf(part)
		for i := range v.NumField() {
			if field := v.Type().Field(i).Name; v.Field(i).IsZero() && field != "AllowPrivate" {
				t.Errorf("%s.%s is not in the example", v.Type(), field)
			}
		}
	}
}

func TestTheExamplesOfToolsAreRight(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("../docs/tools.md")
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(string(data), "```yaml\n")
	if len(parts) != 3 {
		t.Fatalf("there are %d examples", len(parts)-1)
	}
	for _, rest := range parts[1:] {
		example, _, _ := strings.Cut(rest, "```")
		mustParse(t, example, "SEARCH_TOKEN", "s3cret")
	}
}

func TestToolsOfServers(t *testing.T) {
	t.Parallel()
	for pattern, want := range map[string]bool{
		"files.read": true, "files.*": true, "f*": true, "*": true, "*.read": true, "fil[e]s.x": true, "?iles.*": true,
		"files.": false, "files": false, "file.*": false, "search.*": false, "filesx.*": false, "calculator": false, "current_*": false,
	} {
		if got := ofServer(pattern, "files"); got != want {
			t.Errorf("%q may mean a tool of files: %t", pattern, got)
		}
	}
}

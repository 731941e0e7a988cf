package config

import (
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/runwire/runwire/agent/model"
)

const (
	leastCall    = time.Millisecond
	mostCall     = time.Hour
	leastConnect = 10 * time.Millisecond
	mostConnect  = time.Hour
	// mostServers and mostHosts bound what a file may list.
	mostServers = 100
	mostHosts   = 1_000
)

// effects are what a tool's `effect` may be, as tool.Effect has them.
var effects = []string{"pure", "idempotent", "once"}

// HTTPGetTool is the tool that `http_get` configures. There is none without it.
const HTTPGetTool = "http_get"

// MCPServer is one entry of `mcp_servers`. Either Command or URL is given.
type MCPServer struct {
	Name string
	// Command is a program and its arguments; empty for a server over HTTP.
	Command []string
	// Env is what the program is told besides PATH and the like; may be nil.
	Env map[string]Secret
	// URL is where a server over HTTP is; empty for a program.
	URL string
	// Headers are sent to URL; may be nil.
	Headers map[string]Secret
	// Tools are what is known of its tools, in the order of the file; the first
	// that matches counts. May be empty.
	Tools []ToolRule
	// Timeout bounds a call; 0 leaves it to the program.
	Timeout time.Duration
	// ConnectTimeout bounds an attempt to connect; 0 leaves it to the program.
	ConnectTimeout time.Duration
}

// ToolRule is one entry of a server's `tools`.
type ToolRule struct {
	// Pattern is a name or a glob.
	Pattern string
	// Effect is `pure`, `idempotent` or `once`; empty leaves it to the server.
	Effect string
	// RequiresApproval says that a person must agree to each call.
	RequiresApproval bool
	// Timeout bounds a call; 0 is the server's.
	Timeout time.Duration
}

// HTTPGet is `http_get`.
type HTTPGet struct {
	// Hosts may be asked; never empty.
	Hosts []string
	// AllowPrivate lets their names lead to private networks and this machine.
	AllowPrivate bool
}

// mcpServers reads `mcp_servers`. The names are all that a tool may be of, also
// those of servers that are wrong.
func (v value) mcpServers() (servers []MCPServer, names []string) {
	v.entries(func(name string, entry value) {
		names = append(names, name)
		server := entry.mcpServer(name) // for its mistakes, whatever its name
		if len(names) == mostServers+1 {
			entry.lacks(fmt.Sprintf("more than %d servers", mostServers), "")
		}
		if entry.serverNamed(name) {
			servers = append(servers, server)
		}
	})
	slices.SortFunc(servers, func(a, b MCPServer) int { return strings.Compare(a.Name, b.Name) })
	return servers, names
}

// serverNamed says whether s can be a server's name, which begins the names of
// its tools.
func (v value) serverNamed(s string) bool {
	const longest, reserved = 32, "agent"
	switch {
	case s == "" || len(s) > longest || strings.ContainsFunc(s, func(c rune) bool { return notNameRune(c) || c == '.' }):
		v.lacks(`a server's name is 1 to 32 letters, digits, "_" and "-"`, "")
	case s == reserved:
		v.lacks("agent is what the tools that are agents begin with", "call the server otherwise")
	default:
		return true
	}
	return false
}

func (v value) mcpServer(name string) MCPServer {
	s := MCPServer{Name: name}
	var command, env, address, headers value
	right := v.object(fields{
		"command":         keep(&command),
		"env":             keep(&env),
		"url":             keep(&address),
		"headers":         keep(&headers),
		"tools":           func(tools value) { s.Tools = tools.toolRules() },
		"timeout":         duration(&s.Timeout, leastCall, mostCall),
		"connect_timeout": duration(&s.ConnectTimeout, leastConnect, mostConnect),
	})
	s.Command = command.command()
	s.Env = env.texts(isVariable, "a variable's name is letters, digits and _")
	if text, ok := address.text(); ok {
		s.URL = text
		if problem := addressProblem(text); problem != "" {
			address.wrong(problem, address.schemeless(text))
		}
	}
	s.Headers = headers.texts(isHeader, "a header's name is letters, digits and -, and none of the protocol's own")
	switch {
	case command.given() && address.given():
		address.lacks("there is a command already", "keep one of the two")
	case !right && v.given():
	case !command.given() && !address.given():
		v.lacks("has no command and no url", `add one, such as "url: https://mcp.example.com/mcp"`)
	case headers.given() && command.given():
		headers.lacks("headers are for servers with a url", "give a program its secrets in env")
	case env.given() && address.given():
		env.lacks("env is for servers with a command", "give a server over HTTP its secrets in headers")
	}
	return s
}

// command reads a program and its arguments.
func (v value) command() []string {
	var command []string
	whole := v.list(`a list such as [npx, -y, "@scope/server"]`, func(item value) {
		if s, ok := item.text(); ok {
			command = append(command, s)
		}
	})
	if whole && len(v.node.Content) == 0 || len(command) > 0 && command[0] == "" {
		v.wrong("no program is named", "")
	}
	return command
}

// texts reads a mapping of names that are right to texts that may be secrets.
func (v value) texts(right func(string) bool, rule string) map[string]Secret {
	var texts map[string]Secret
	v.entries(func(name string, entry value) {
		s, ok := entry.text()
		switch {
		case !right(name):
			entry.lacks(rule, "")
		case !entry.given():
			entry.lacks("has no value", "")
		case ok && strings.ContainsFunc(s, func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }):
			entry.wrong("has a line break or another control character", "")
		case ok:
			if texts == nil {
				texts = make(map[string]Secret)
			}
			texts[name] = Secret(s)
		}
	})
	return texts
}

// isHeader says whether a file may set a header of that name.
func isHeader(name string) bool {
	lower := strings.ToLower(name)
	switch {
	case lower == "" || strings.ContainsFunc(lower, notNameRune):
		return false
	case strings.HasPrefix(lower, "mcp-") || lower == "last-event-id":
		return false
	default:
		return !slices.Contains([]string{"host", "content-type", "content-length", "accept", "connection", "transfer-encoding"}, lower)
	}
}

// toolRules reads a server's `tools`.
func (v value) toolRules() []ToolRule {
	var rules []ToolRule
	v.entries(func(pattern string, entry value) {
		rule := ToolRule{Pattern: pattern}
		entry.object(fields{
			"effect":            choice(&rule.Effect, effects),
			"requires_approval": truth(&rule.RequiresApproval),
			"timeout":           duration(&rule.Timeout, leastCall, mostCall),
		})
		if _, err := path.Match(pattern, ""); err != nil || pattern == "" {
			entry.lacks("not a pattern", `"*" stands for any characters`)
			return
		}
		rules = append(rules, rule)
	})
	return rules
}

// choice reads one of several words.
func choice(into *string, words []string) func(value) {
	return func(v value) {
		s, ok := v.text()
		if ok && !slices.Contains(words, s) {
			v.wrong("wants one of "+strings.Join(words, ", ")+", not "+v.quoted(s), "")
			return
		}
		if ok {
			*into = s
		}
	}
}

// httpGet reads `http_get`; nil if the file has none.
func (v value) httpGet() *HTTPGet {
	if !v.given() {
		return nil
	}
	get := &HTTPGet{}
	var hosts value
	right := v.object(fields{
		"hosts":         keep(&hosts),
		"allow_private": truth(&get.AllowPrivate),
	})
	whole := hosts.list(`a list such as [example.com, "*.example.com"]`, func(item value) {
		s, ok := item.text()
		if ok && !isHost(s) {
			item.wrong("wants a host such as example.com or *.example.com, without a scheme, a port or a path", "")
			return
		}
		if ok {
			get.Hosts = append(get.Hosts, s)
		}
	})
	if right && !hosts.given() || whole && len(hosts.node.Content) == 0 {
		v.lacks("allows no host", `add "hosts: [example.com]"`)
	}
	if len(get.Hosts) > mostHosts {
		hosts.wrong(fmt.Sprintf("more than %d hosts", mostHosts), "")
	}
	return get
}

// isHost says whether s looks like one, or a pattern of some. What is a name is
// for the tool to say.
func isHost(s string) bool {
	if _, err := netip.ParseAddr(s); err == nil || s == "*" {
		return true
	}
	name := strings.TrimPrefix(s, "*.")
	return name != "" && !strings.ContainsAny(name, "*/:@?#[]% \t\r\n\\") && !strings.Contains(name, "..") &&
		!strings.HasPrefix(name, ".")
}

// toolNames are what the tools of an agent may be.
func (r *reader) toolNames(agent string) []string {
	names := slices.Clone(r.known.Tools)
	for _, server := range r.servers {
		names = append(names, server+".*")
	}
	for _, other := range r.agents {
		if other != agent {
			names = append(names, model.AgentPrefix+other)
		}
	}
	return names
}

// ofServer says whether a name or a glob may mean tools of a server, whose own
// names nobody knows yet.
func ofServer(pattern, server string) bool {
	const marks = `*?[\`
	prefix := server + "."
	literal := pattern
	if i := strings.IndexAny(pattern, marks); i >= 0 {
		literal = pattern[:i]
		if strings.HasPrefix(prefix, literal) {
			return true
		}
	}
	return strings.HasPrefix(literal, prefix) && (literal != pattern || len(literal) > len(prefix))
}

package config

import (
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/runwire/runwire/agent/model"
)

// maxSize bounds a file, in bytes.
const maxSize = 1 << 20

// Load reads and checks the file at path. Texts in it may refer to variables
// of the environment, which env looks up as os.LookupEnv does.
//
// A file that cannot be read is an error that says so; a file that is wrong is
// an error of type Mistakes, with every mistake there is.
func Load(path string, env func(string) (string, bool), known Known) (*File, error) {
	f, err := os.Open(path) //nolint:gosec // the operator names the file
	if err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read from
	data, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	if err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	return Parse(path, data, env, known)
}

// Parse is Load for data that is there already; name stands in the mistakes.
func Parse(name string, data []byte, env func(string) (string, bool), known Known) (*File, error) {
	in := &reader{file: name, env: env, known: known}
	var file *File
	if doc, ok := in.document(data); ok {
		file = in.read(doc)
	}
	if err := in.verdict(); err != nil {
		return nil, err
	}
	return file, nil
}

// Default is the configuration without a file: one agent, which answers from
// OpenAI or else Anthropic where the environment has a key, and offline where
// not. It fails, with Mistakes, if the environment is wrong.
func Default(env func(string) (string, bool)) (*File, error) {
	in := &reader{file: "environment", env: env}
	providers := in.builtins()
	if err := in.verdict(); err != nil {
		return nil, err
	}
	return &File{
		Agents:    []Agent{defaultAgent(providers)},
		Providers: providers,
		Limits:    Limits{Global: defaultGlobalLimits()},
		Memory:    defaultMemory(),
		Prices:    map[string]model.Price{},
	}, nil
}

// read makes a File of doc; it is only good if there was no mistake.
func (r *reader) read(doc value) *File {
	var agents, servers, httpGet, providers, keys, limits, memory, prices, webhooks value
	doc.object(fields{
		"agents":      keep(&agents),
		"mcp_servers": keep(&servers),
		"http_get":    keep(&httpGet),
		"providers":   keep(&providers),
		"keys":        keep(&keys),
		"limits":      keep(&limits),
		"memory":      keep(&memory),
		"prices":      keep(&prices),
		"webhooks":    keep(&webhooks),
	})

	file := &File{Limits: limits.limits(), Keys: keys.keys(), Webhooks: webhooks.webhooks()}
	var names []string
	file.Providers, names = providers.providers(r.builtins())
	file.Memory = memory.memory(file.Providers, names)
	file.Prices = prices.prices(names)
	file.MCPServers, r.servers = servers.mcpServers()
	if file.HTTPGet = httpGet.httpGet(); httpGet.given() {
		r.known.Tools = append(slices.Clone(r.known.Tools), HTTPGetTool)
	}
	file.Agents = agents.agents(names)
	if agents.node == nil {
		file.Agents = []Agent{defaultAgent(file.Providers)}
	}
	return file
}

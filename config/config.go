// Package config reads Runwire's YAML file, checks it, and fills in the
// defaults. It must not know how agents, models or servers are built from it.
package config

import (
	"encoding"
	"fmt"
	"time"

	"github.com/runwire/runwire/agent/model"
)

// The providers that are always there, and the types of the ones that a file adds.
const (
	// OpenAI is a provider, and the type of every provider that speaks its wire format.
	OpenAI = "openai"
	// Anthropic is another, in both senses.
	Anthropic = "anthropic"
	// Offline is a provider with one model, which has the same name.
	Offline = "offline"
)

// Scope is what a key may do.
type Scope string

// The scopes.
const (
	ScopeRun   Scope = "run"
	ScopeTasks Scope = "tasks"
	ScopeAdmin Scope = "admin"
)

// DefaultTenant is the tenant of a key that names none.
const DefaultTenant = "default"

// Known is what the program has built in and a file may refer to.
type Known struct {
	// Tools are the names of the tools.
	Tools []string
}

// File is a checked configuration. Whoever has it may change it; this package
// keeps nothing of it.
type File struct {
	// Agents are sorted by name; never empty.
	Agents []Agent
	// Providers are sorted by name. The built-in OpenAI and Anthropic are always
	// among them, Offline never, since it has nothing to configure.
	Providers []Provider
	// Keys are in the order of the file; may be empty.
	Keys []Key
	// Limits are what callers may do.
	Limits Limits
	// MCPServers are sorted by name; may be empty.
	MCPServers []MCPServer
	// HTTPGet configures the tool HTTPGetTool; nil without it.
	HTTPGet *HTTPGet
	// Webhooks is how tasks' webhooks are called.
	Webhooks Webhooks
	// Memory is how notes about users are found.
	Memory Memory
	// Prices are by model as agents write it, beside or instead of the
	// built-in ones; may be empty.
	Prices map[string]model.Price
}

// Agent is one entry of `agents`. Every limit is positive.
type Agent struct {
	Name        string
	Description string
	// Models are asked in order, the first that works; never empty. Each is
	// Offline, or `provider/model` with a provider that is in File.Providers.
	Models []string
	// OfflineOptions are for the model Offline and mean nothing without it.
	OfflineOptions OfflineOptions
	// SystemPrompt may be empty.
	SystemPrompt string
	// Tools are names out of Known.Tools, and HTTPGetTool where File.HTTPGet is
	// given: globs are resolved, none is twice.
	Tools []string
	// ServerTools are names and globs of the tools of File.MCPServers, with the
	// server's name and a dot before the tool's; may be empty.
	ServerTools []string
	// Agents are the names of agents in File.Agents that it has as tools; none
	// has it as a tool in turn, directly or by way of others. May be empty.
	Agents []string
	// MaxIterations bounds the model calls of a run.
	MaxIterations int
	// MaxOutputTokens bounds each reply, in tokens.
	MaxOutputTokens int64
	// MaxHistoryTokens bounds what a run is told of its session; 0 is an agent
	// without sessions.
	MaxHistoryTokens int64
	// SummaryModels sum up what lies before that; named as Models are. Empty
	// leaves it out.
	SummaryModels []string
	// MemoryTokens bounds what a run is told of the notes about its user; 0 is
	// nothing.
	MemoryTokens int64
	// MaxTokensPerRun bounds a run, input and output, in tokens.
	MaxTokensPerRun int64
	// MaxCostPerRun bounds what a run may cost.
	MaxCostPerRun model.Money
	// Timeout bounds how long a run may take.
	Timeout time.Duration
}

// OfflineOptions is `model_options`; the zero value changes nothing.
type OfflineOptions struct {
	// Tokens is how many words every reply has; 0 answers from rules.
	Tokens int
	// TokenInterval is the time from a word to the next.
	TokenInterval time.Duration
	// FirstTokenDelay is the time before the first word.
	FirstTokenDelay time.Duration
	// FailRate is the share of calls that fail, from 0 to 1.
	FailRate float64
}

// Provider is one entry of `providers`, or a built-in one.
type Provider struct {
	Name string
	// Type is the wire format it speaks: OpenAI or Anthropic.
	Type string
	// BaseURL has no slash at its end. Empty is OpenAI's or Anthropic's own
	// address, and only a built-in provider's can be empty.
	BaseURL string
	// APIKey may be empty: local servers need none.
	APIKey Secret
	// Timeout is how long the provider may stay silent; positive.
	Timeout time.Duration
	// MaxRetries is how often a call is tried again; 0 is never.
	MaxRetries int
	// Thinking is as model.AnthropicConfig has it; 0 unless Type is Anthropic.
	Thinking int64
}

// Secret is a text that prints as "[secret]"; string(s) is what it holds.
type Secret string

var (
	_ fmt.Stringer           = Secret("")
	_ fmt.GoStringer         = Secret("")
	_ encoding.TextMarshaler = Secret("")
)

// String hides the secret from fmt.
func (Secret) String() string { return "[secret]" }

// GoString hides the secret from fmt's %#v.
func (s Secret) GoString() string { return s.String() }

// MarshalText hides the secret from encoders and loggers.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Key is one entry of `keys`.
type Key struct {
	// Name is for logs; no two keys share one.
	Name string
	// Tenant is whom the key acts for; never empty.
	Tenant string
	// SHA256 is the hash of what a caller sends; no two keys share one.
	SHA256 [32]byte
	// Scopes are what the key may do; never empty.
	Scopes []Scope
	// CostPerDay is what may be spent by the key in a day of UTC; 0 is any amount.
	CostPerDay model.Money
}

// Limits is `limits`.
type Limits struct {
	PerUser UserLimits
	Global  GlobalLimits
}

// UserLimits bound each user of each tenant.
type UserLimits struct {
	// Requests is how many runs a user may start in Window; 0 is any number,
	// nil leaves it to the command line.
	Requests *int
	// Window is positive; nil leaves it to the command line.
	Window *time.Duration
	// ConcurrentRuns is how many runs of a user may go on at once; 0 is any number.
	ConcurrentRuns int
	// CostPerDay is what a user may spend in a day of UTC; 0 is any amount.
	CostPerDay model.Money
}

// GlobalLimits bound the whole service.
type GlobalLimits struct {
	// Requests is how many runs may start in Window; 0 is any number.
	Requests int
	// Window is positive.
	Window time.Duration
}

package agent

import (
	"cmp"
	"fmt"
	"log/slog"
	"slices"

	"github.com/google/uuid"
	"github.com/runwire/runwire/agent/model"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
)

// UnknownAgentError says that a request named an agent that is not configured.
type UnknownAgentError struct {
	// Name is what the request asked for.
	Name string
}

// Error names the agent.
func (e *UnknownAgentError) Error() string { return fmt.Sprintf("no agent is named %q", e.Name) }

// UnavailableError says that a run ended before any model had answered at all:
// each was down, or silent until its time was up.
type UnavailableError struct {
	// Err is the last model's *model.Error.
	Err error
}

// Error gives the cause, for the log.
func (e *UnavailableError) Error() string { return "no model answered: " + e.Err.Error() }

// Unwrap returns the cause.
func (e *UnavailableError) Unwrap() error { return e.Err }

// Config is what a Runner is made of.
type Config struct {
	// Agents are the agents that can be run; at least one, each name once.
	Agents []Agent
	// Prices says what models cost.
	Prices model.Prices
	// Meter and Tracer take the telemetry; nil is none.
	Meter  metric.MeterProvider
	Tracer trace.TracerProvider
	// Log takes what operators must know; nil is none.
	Log *slog.Logger
	// LogContent also logs prompts and answers, at info.
	LogContent bool
}

// Runner runs agents. Safe for concurrent use.
type Runner struct {
	agents     []*configured
	byName     map[string]*configured
	telemetry  *telemetry
	log        *slog.Logger
	logContent bool
}

// configured is an agent and what is worked out from it once.
type configured struct {
	Agent
	tools   toolset
	models  []pricedModel
	metrics *agentMetrics
}

// pricedModel is a model and what is known of it.
type pricedModel struct {
	model.Model
	price   model.Price
	priced  bool
	metrics *modelMetrics
}

// NewRunner checks cfg and returns a Runner of its agents.
func NewRunner(cfg Config) (*Runner, error) {
	telemetry, err := newTelemetry(cfg.Meter, cfg.Tracer)
	if err != nil {
		return nil, err
	}
	r := &Runner{
		byName:     make(map[string]*configured, len(cfg.Agents)),
		telemetry:  telemetry,
		log:        cmp.Or(cfg.Log, slog.New(slog.DiscardHandler)),
		logContent: cfg.LogContent,
	}
	for _, a := range cfg.Agents {
		c, err := r.configure(a, cfg.Prices)
		if err != nil {
			return nil, err
		}
		if _, twice := r.byName[a.Name]; twice {
			return nil, fmt.Errorf("agent %q is given twice", a.Name)
		}
		r.byName[a.Name] = c
		r.agents = append(r.agents, c)
	}
	slices.SortFunc(r.agents, func(a, b *configured) int { return cmp.Compare(a.Name, b.Name) })
	return r, nil
}

func (r *Runner) configure(a Agent, prices model.Prices) (*configured, error) {
	if err := a.validate(); err != nil {
		return nil, err
	}
	tools, err := newToolset(a.Tools)
	if err != nil {
		return nil, fmt.Errorf("agent %q: %w", a.Name, err)
	}
	c := &configured{Agent: a, tools: tools, metrics: newAgentMetrics(a.Name, tools.names)}
	for _, m := range a.Models {
		price, priced := prices.Lookup(m.Name())
		c.models = append(c.models, pricedModel{
			Model: m, price: price, priced: priced, metrics: newModelMetrics(a.Name, m.Name()),
		})
	}
	return c, nil
}

// Agents returns the configured agents, by name.
func (r *Runner) Agents() []Agent {
	list := make([]Agent, len(r.agents))
	for i, c := range r.agents {
		list[i] = c.Agent
	}
	return list
}

// Request is what a caller asks for.
type Request struct {
	// Message is what the user says; not empty.
	Message string
	// UserID is on whose behalf the agent runs.
	UserID string
	// SessionID is the conversation; made when empty.
	SessionID string
	// Agent is who shall answer; DefaultName when empty.
	Agent string
	// MaxTokens and MaxCost lower the agent's budget; 0 leaves it.
	MaxTokens int64
	MaxCost   model.Money
}

// NewRun prepares a run: it has an id and can be executed once. Its error is
// an *UnknownAgentError.
func (r *Runner) NewRun(req Request) (*Run, error) {
	name := cmp.Or(req.Agent, DefaultName)
	agent, ok := r.byName[name]
	if !ok {
		return nil, &UnknownAgentError{Name: name}
	}
	id, err := newID("run_")
	if err != nil {
		return nil, err
	}
	session := req.SessionID
	if session == "" {
		if session, err = newID("sess_"); err != nil {
			return nil, err
		}
	}
	return &Run{
		runner:  r,
		agent:   agent,
		id:      id,
		session: session,
		user:    req.UserID,
		request: req.Message,
		budget:  newBudget(&agent.Agent, req),
	}, nil
}

// newID returns an id that no one can guess and that sorts by time.
func newID(prefix string) (string, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return "", fmt.Errorf("make an id: %w", err)
	}
	return prefix + id.String(), nil
}

package agent

import (
	"cmp"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/runwire/runwire/agent/model"
	"github.com/runwire/runwire/agent/tool"
	agentv1 "github.com/runwire/runwire/gen/agent/v1"
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
	// Err is the last model's *model.Error, or the Allowance's.
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
	tokenizer  model.Tokenizer // of estimates
}

// configured is an agent and what is worked out from it once.
type configured struct {
	Agent
	asks    []*configured // Agents
	nesting int           // how deep they ask on; 1 for an agent that asks none, 0 is not known yet
	tools   toolset
	models  []pricedModel
	summing []pricedModel
	metrics *agentMetrics
	mixed   atomic.Pointer[mixture]
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
		c, err := configure(a, cfg.Prices)
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
	return r, r.connect()
}

func configure(a Agent, prices model.Prices) (*configured, error) {
	if err := a.validate(); err != nil {
		return nil, err
	}
	c := &configured{Agent: a, metrics: newAgentMetrics(a.Name)}
	c.models, c.summing = priceModels(a.Name, a.Models, prices), priceModels(a.Name, a.SummaryModels, prices)
	return c, nil
}

func priceModels(agentName string, models []model.Model, prices model.Prices) []pricedModel {
	all := make([]pricedModel, len(models))
	for i, m := range models {
		price, priced := prices.Lookup(m.Name())
		all[i] = pricedModel{Model: m, price: price, priced: priced, metrics: newModelMetrics(agentName, m.Name())}
	}
	return all
}

// Agents returns the configured agents, by name.
func (r *Runner) Agents() []Agent {
	list := make([]Agent, len(r.agents))
	for i, c := range r.agents {
		list[i] = c.Agent
	}
	return list
}

// Find returns the agent that a request names; DefaultName when it names none.
// Its error is an *UnknownAgentError.
func (r *Runner) Find(name string) (Agent, error) {
	c, err := r.find(name)
	if err != nil {
		return Agent{}, err
	}
	return c.Agent, nil
}

func (r *Runner) find(name string) (*configured, error) {
	name = cmp.Or(name, DefaultName)
	c, ok := r.byName[name]
	if !ok {
		return nil, &UnknownAgentError{Name: name}
	}
	return c, nil
}

// Spent is what the steps of an agent's run have used.
func (r *Runner) Spent(name string, steps []Step) *agentv1.Usage {
	name = cmp.Or(name, DefaultName)
	var spent budget
	for _, step := range steps {
		if step.Model != nil {
			spent.spend(r.asked(cmp.Or(step.Model.Agent, name), step.Model.Model), step.Model.Reply.Usage)
		}
		if step.Summary != nil {
			spent.spend(r.asked(name, step.Summary.Model), step.Summary.Usage)
		}
	}
	return spent.usage()
}

// asked is the model of that name that an agent has asked; the agent's first, if
// it is the agent's no longer, and one without a price, if the agent is gone.
func (r *Runner) asked(agent, name string) *pricedModel {
	c, ok := r.byName[agent]
	if !ok {
		return &pricedModel{}
	}
	return c.known(name)
}

func (c *configured) modelIndex(name string) int {
	return max(0, slices.IndexFunc(c.models, func(m pricedModel) bool { return m.Name() == name }))
}

// known is the agent's model of that name, or the one that sums up; the agent's
// first, if it is the agent's no longer.
func (c *configured) known(name string) *pricedModel {
	for _, models := range [...][]pricedModel{c.models, c.summing} {
		if i := slices.IndexFunc(models, func(m pricedModel) bool { return m.Name() == name }); i >= 0 {
			return &models[i]
		}
	}
	return &c.models[0]
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

	// ResponseSchema is a JSON Schema that the answer must fit; none when empty.
	ResponseSchema string

	// RunID is the run's id; made when empty.
	RunID string
	// History is what was said in the session before.
	History []model.Message
	// Older is what was said before History; nil is nothing.
	Older *model.Older
	// Summaries keeps what an agent with SummaryModels makes of Older; nil keeps nothing.
	Summaries SummaryKeeper
	// Timeout takes the place of the agent's; 0 leaves it.
	Timeout time.Duration
	// Journal keeps the run's steps; nil is a run that ends with its caller.
	Journal Journal
	// Resume is how a run goes on that was interrupted; nil for the first try.
	Resume *Resume
	// Ended is called when the run has ended, or waits for a person, before
	// that is told; nil is nothing to do.
	Ended func(run *Run)
	// Allowance is money that the run shares with others; nil is none. Models
	// without a price, and those that are free, are asked without it.
	Allowance Allowance
	// Memory is the notes about the user; nil is the context's, if it has any.
	Memory tool.Memory
	// LastTry: nobody runs it again when no model answers, so that it ends with
	// `finished` then, too.
	LastTry bool
}

// NewRun prepares a run: it has an id and can be executed once. Its error is
// an *UnknownAgentError.
func (r *Runner) NewRun(req Request) (*Run, error) {
	agent, err := r.find(req.Agent)
	if err != nil {
		return nil, err
	}
	answer, err := answerSchema(req.ResponseSchema)
	if err != nil {
		return nil, err
	}
	id, err := orNewID(req.RunID, "run_")
	if err != nil {
		return nil, err
	}
	session, err := orNewID(req.SessionID, "sess_")
	if err != nil {
		return nil, err
	}
	tools, err := agent.toolsNow()
	if err != nil {
		return nil, err
	}
	run := &Run{
		runner:   r,
		agent:    agent,
		tools:    tools,
		id:       id,
		session:  session,
		user:     req.UserID,
		request:  req.Message,
		timeout:  cmp.Or(req.Timeout, agent.Timeout),
		resume:   req.Resume,
		journal:  req.Journal,
		lastTry:  req.LastTry,
		memory:   req.Memory,
		older:    req.Older,
		summary:  req.Summaries,
		ended:    req.Ended,
		messages: slices.Clone(req.History),
		history:  len(req.History),
		schema:   req.ResponseSchema,
		answer:   answer,
		budget:   newBudget(&agent.Agent, req),

		allowance: req.Allowance,
	}
	run.root = run
	return run, nil
}

func orNewID(id, prefix string) (string, error) {
	if id != "" {
		return id, nil
	}
	return NewID(prefix)
}

// NewID returns an id that no one can guess and that sorts by time.
func NewID(prefix string) (string, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return "", fmt.Errorf("make an id: %w", err)
	}
	return prefix + id.String(), nil
}

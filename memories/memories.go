// Package memories finds what is remembered of users by meaning as well as by
// words, where there is a model for it. It must not know how a model is asked,
// nor who searches.
package memories

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/runwire/runwire/agent/model"
	"github.com/runwire/runwire/store"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"
)

// Store is what a Keeper needs of the store.
type Store interface {
	store.Notes
	// Lead is as store.Sweeper has it.
	Lead(ctx context.Context, name, owner string, ttl time.Duration) (bool, error)
}

// Embedder turns texts into vectors, as model.Embedder does.
type Embedder interface {
	Name() string
	Embed(ctx context.Context, texts []string) ([][]float32, model.Usage, error)
}

// Config is what a Keeper is made of.
type Config struct {
	// Store has the memories.
	Store Store
	// Embedder says what texts mean; nil leaves it to the words.
	Embedder Embedder
	// Floor is the least cosine that makes a memory near to a search.
	Floor float64
	// Price is what the embedder's tokens cost; nil when nobody said.
	Price *model.Price
	// Account keeps what searches have used; it does not fail.
	Account func(ctx context.Context, rows []store.UsageRow)
	// Meter counts; nil counts nothing.
	Meter metric.MeterProvider
	// Log takes what goes wrong; nil is none.
	Log *slog.Logger
}

// Keeper is the memories of a store, which it gives vectors and searches by
// them. Whatever happens to the embedder, memories are saved and found: by
// their words, while there is nothing better. Safe for concurrent use.
type Keeper struct {
	Store

	cfg  Config
	wake chan struct{}

	// away is until when, in nanoseconds of the Unix clock, searches do not ask
	// the embedder; 0 while it answers.
	away atomic.Int64

	searches metric.Int64Counter
	tokens   metric.Int64Counter
	cost     metric.Float64Counter
}

// New makes a keeper.
func New(cfg Config) (*Keeper, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Meter == nil {
		cfg.Meter = noop.NewMeterProvider()
	}
	meter := cfg.Meter.Meter("github.com/runwire/runwire/memories")
	searches, err1 := meter.Int64Counter("agent.memory.searches", metric.WithUnit("{search}"),
		metric.WithDescription("Searches of memories that have vectors, by what they were found by."))
	// Runs count theirs under the same names.
	tokens, err2 := meter.Int64Counter("agent.llm.tokens_used", metric.WithUnit("{token}"),
		metric.WithDescription("Tokens used, by type."))
	cost, err3 := meter.Float64Counter("agent.llm.cost_usd", metric.WithUnit("USD"),
		metric.WithDescription("What model calls cost, where the price is known."))
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, fmt.Errorf("making the memories' metrics: %w", err)
	}
	return &Keeper{
		Store: cfg.Store, cfg: cfg, wake: make(chan struct{}, 1), searches: searches, tokens: tokens, cost: cost,
	}, nil
}

// SaveMemory implements store.Memories. The vector follows once Run has made it.
func (k *Keeper) SaveMemory(ctx context.Context, memory store.Memory, most int) (store.Memory, error) {
	saved, err := k.Store.SaveMemory(ctx, memory, most)
	if err == nil {
		select {
		case k.wake <- struct{}{}:
		default:
		}
	}
	return saved, err
}

const (
	// queryTimeout is how long a search waits to be told what it means.
	queryTimeout = time.Second
	// queryCharacters is how much of a long text is asked about: as much as a
	// memory has.
	queryCharacters = store.MaxMemory
	// leastAway is how long an embedder that has failed is left alone by searches.
	leastAway = 10 * time.Second
	mostAway  = 5 * time.Minute
)

// SearchMemories implements store.Memories, by meaning too where it can.
func (k *Keeper) SearchMemories(ctx context.Context, tenant, userID, text string, limit int) ([]store.Memory, error) {
	if k.cfg.Embedder == nil {
		return k.Store.SearchMemories(ctx, tenant, userID, text, limit)
	}
	has, err := k.HasVectors(ctx, tenant, userID, k.cfg.Embedder.Name())
	if err != nil {
		return nil, err
	}
	if !has { // then nothing has to be paid for
		return k.Store.SearchMemories(ctx, tenant, userID, text, limit)
	}
	vector := k.meaning(ctx, tenant, userID, text)
	if vector == nil {
		k.count(ctx, "words")
		return k.Store.SearchMemories(ctx, tenant, userID, text, limit)
	}
	k.count(ctx, "meaning")
	near := store.Near{Model: k.cfg.Embedder.Name(), Vector: vector, Floor: k.cfg.Floor}
	return k.SearchMeaning(ctx, tenant, userID, text, near, limit)
}

func (k *Keeper) count(ctx context.Context, by string) {
	k.searches.Add(ctx, 1, metric.WithAttributes(attribute.String("by", by)))
}

// meaning is the vector of a text that a user's memories are searched for; nil
// when it cannot be had now.
func (k *Keeper) meaning(ctx context.Context, tenant, userID, text string) []float32 {
	text = beginning(text)
	if text == "" || time.Now().UnixNano() < k.away.Load() {
		return nil
	}
	asking, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	vectors, used, err := k.cfg.Embedder.Embed(asking, []string{text})
	k.cfg.Account(context.WithoutCancel(ctx), k.usage(ctx, []asked{{tenant, userID, text}}, used))
	switch {
	case err == nil:
		if k.away.Swap(0) != 0 {
			k.cfg.Log.InfoContext(ctx, "memories are searched by meaning again")
		}
		return vectors[0]
	case ctx.Err() != nil, errors.Is(err, model.ErrText): // which says nothing about the next
		return nil
	default:
		until := time.Now().Add(min(max(retryAfter(err), leastAway), mostAway))
		if k.away.Swap(until.UnixNano()) == 0 {
			k.cfg.Log.WarnContext(ctx, "memories are searched by words alone", slog.Any("error", err))
		}
		return nil
	}
}

// beginning is as much of a text as is asked about; empty when it says nothing.
func beginning(text string) string {
	text = strings.TrimSpace(text)
	characters := 0
	for i := range text {
		if characters == queryCharacters {
			return text[:i]
		}
		characters++
	}
	return text
}

// retryAfter is when an embedder asks to be tried again; 0 when it does not say.
func retryAfter(err error) time.Duration {
	if failed, ok := errors.AsType[*model.Error](err); ok {
		return failed.RetryAfter
	}
	return 0
}

package memories

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/runwire/runwire/agent/model"
	"github.com/runwire/runwire/store"
)

const (
	// batch is how many memories are asked about together.
	batch = 64
	// lease is how long claimed memories are this keeper's.
	lease = 2 * time.Minute
	// answerTimeout bounds how long a batch is asked about, so that its lease is
	// not outlived.
	answerTimeout = 90 * time.Second
	// idle is how often the store is asked for memories that others have saved
	// or left.
	idle = 10 * time.Second
	// leading is how long a model is the one that vectors are made by, after
	// whoever makes them has last said so.
	leading = time.Minute
	// writeTimeout bounds how long the store is waited for, also at the end.
	writeTimeout = 10 * time.Second
	// refusedFor is when a text that the provider does not take is tried again.
	refusedFor = time.Hour
)

// leader is the name under which processes agree on one model, so that two that
// are configured differently, as in a rollout, do not undo each other's work.
const leader = "embeddings"

// Run gives memories their vectors until ctx ends, those of other processes
// too: several may run on one store, each claims what it asks about. It returns
// nil; without an embedder, at once. It may be called once.
func (k *Keeper) Run(ctx context.Context) error {
	if k.cfg.Embedder == nil {
		return nil
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	var turn turn
	for failures := 0; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-k.wake:
			if failures > 0 {
				continue // there is no hurry
			}
		case <-timer.C:
		}
		filled, err := k.round(ctx, &turn)
		switch {
		case ctx.Err() != nil:
		case err != nil:
			if failures == 0 {
				k.cfg.Log.WarnContext(ctx, "memories wait for their vectors", slog.Any("error", err))
			}
			failures++
			timer.Reset(pause(failures, err))
			continue
		case failures > 0:
			k.cfg.Log.InfoContext(ctx, "memories are given vectors again")
		}
		failures = 0
		if filled > 0 {
			timer.Reset(0)
		} else {
			timer.Reset(idle - rand.N(idle/2))
		}
	}
}

// pause is how long nothing is asked after so many failures in a row: 1 s, 2 s,
// 4 s, … up to mostAway, or as the provider has asked.
func pause(failures int, err error) time.Duration {
	const doublings = 9
	wait := min(time.Second<<min(failures-1, doublings), mostAway)
	return max(wait-rand.N(wait/4), min(retryAfter(err), mostAway))
}

// turn is this process's part in what processes agree on.
type turn struct {
	until  time.Time // its model leads
	waited bool      // another's led when it was last looked at
}

// leads says whether vectors are made by this process's model now.
func (k *Keeper) leads(ctx context.Context, t *turn) (bool, error) {
	if time.Until(t.until) > leading/2 {
		return true, nil
	}
	until := time.Now().Add(leading)
	leads, err := k.Lead(ctx, leader, k.cfg.Embedder.Name(), leading)
	if err != nil {
		return false, err
	}
	if leads {
		t.until = until
	} else if !t.waited {
		k.cfg.Log.InfoContext(ctx, "another process gives memories vectors of another model")
	}
	t.waited = !leads
	return leads, nil
}

// round gives one batch its vectors, and returns how many it has.
func (k *Keeper) round(ctx context.Context, t *turn) (int, error) {
	name := k.cfg.Embedder.Name()
	if leads, err := k.leads(ctx, t); !leads {
		return 0, err
	}
	claimed, err := k.ClaimMemories(ctx, name, batch, lease)
	if len(claimed) == 0 {
		return 0, err
	}
	asking, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	given, err := k.give(asking, claimed)
	if given == 0 && err == nil {
		err = errors.New("the provider has refused every text")
	}
	return given, err
}

// give asks what memories mean and keeps it; it returns how many it has given a
// vector. When the provider refuses them, the one or few that it does not take
// are found by halves and put off.
func (k *Keeper) give(ctx context.Context, claimed []store.Memory) (int, error) {
	texts, about := make([]string, len(claimed)), make([]asked, len(claimed))
	for i := range claimed {
		m := &claimed[i]
		texts[i], about[i] = m.Text, asked{m.Tenant, m.UserID, m.Text}
	}
	vectors, used, err := k.cfg.Embedder.Embed(ctx, texts)
	usage := k.usage(ctx, about, used)
	switch {
	case err == nil:
		return k.keep(ctx, claimed, vectors, usage)
	case errors.Is(err, model.ErrText) && len(claimed) > 1:
		k.cfg.Account(context.WithoutCancel(ctx), usage)
		half := len(claimed) / 2
		given, err := k.give(ctx, claimed[:half])
		if err != nil {
			return given, errors.Join(err, k.release(ctx, claimed[half:], 0))
		}
		more, err := k.give(ctx, claimed[half:])
		return given + more, err
	case errors.Is(err, model.ErrText):
		k.cfg.Account(context.WithoutCancel(ctx), usage)
		k.cfg.Log.WarnContext(ctx, "memory is found by its words alone", slog.String("tenant", claimed[0].Tenant),
			slog.String("memory", claimed[0].ID), slog.Any("error", err))
		return 0, k.release(ctx, claimed, refusedFor)
	default:
		k.cfg.Account(context.WithoutCancel(ctx), usage)
		return 0, errors.Join(err, k.release(ctx, claimed, 0))
	}
}

// keep writes vectors with what they have cost, which is accounted for even when
// they cannot be kept.
func (k *Keeper) keep(ctx context.Context, claimed []store.Memory, vectors [][]float32, usage []store.UsageRow) (int, error) {
	rows := make([]store.MemoryVector, len(claimed))
	for i := range claimed {
		rows[i] = store.MemoryVector{Tenant: claimed[i].Tenant, ID: claimed[i].ID, Vector: vectors[i]}
	}
	writing, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTimeout) // they have been paid for
	defer cancel()
	if err := k.SaveVectors(writing, k.cfg.Embedder.Name(), rows, usage); err != nil {
		k.cfg.Account(context.WithoutCancel(ctx), usage)
		return 0, errors.Join(err, k.release(ctx, claimed, 0))
	}
	return len(claimed), nil
}

// release lets memories be claimed again once after has passed. If it cannot,
// they are once their lease has run out.
func (k *Keeper) release(ctx context.Context, claimed []store.Memory, after time.Duration) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTimeout)
	defer cancel()
	if err := k.PutOffMemories(ctx, claimed, after); err != nil {
		return fmt.Errorf("giving memories back: %w", err)
	}
	return nil
}

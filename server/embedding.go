package server

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"github.com/runwire/runwire/agent/model"
	"github.com/runwire/runwire/config"
	"github.com/runwire/runwire/memories"
	"github.com/runwire/runwire/store"
	"github.com/runwire/runwire/telemetry"
)

// openMemories makes what finds memories, by their meaning too where the file
// names a model for it.
func (d *durable) openMemories(ctx context.Context, told *telemetry.Telemetry) (err error) {
	file := d.cfg.File
	keeping := memories.Config{
		Store: d.store, Floor: file.Memory.MinSimilarity, Meter: told.MeterProvider,
		Log: d.cfg.Log.With(slog.String("logger", "runwire.memories")),
		Account: func(ctx context.Context, rows []store.UsageRow) {
			_ = d.ledger.write(ctx, nil, rows) // without a turn nothing is lost
		},
	}
	if name := file.Memory.EmbeddingModel; name != "" {
		if keeping.Embedder, err = newEmbedder(name, file.Providers); err != nil {
			return fmt.Errorf("embedding model %q: %w", name, err)
		}
		prices, err := prices(file)
		if err != nil {
			return err
		}
		if price, known := prices.Lookup(name); known {
			keeping.Price = &price
		} else {
			keeping.Log.WarnContext(ctx, "embedding model has no known price", slog.String("model", name))
		}
	}
	d.memories, err = memories.New(keeping)
	return err
}

func newEmbedder(name string, providers []config.Provider) (*model.Embedder, error) {
	providerName, modelName, _ := strings.Cut(name, "/")
	for _, provider := range providers {
		if provider.Name == providerName {
			return model.NewEmbedder(openAIConfig(name, modelName, provider, nil))
		}
	}
	return nil, fmt.Errorf("no provider %q", providerName)
}

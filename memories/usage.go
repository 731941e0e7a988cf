package memories

import (
	"context"
	"crypto/rand"
	"time"

	"github.com/runwire/runwire/agent/model"
	"github.com/runwire/runwire/store"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// Agent is what usage of embeddings is kept under: no agent has asked for it.
const Agent = "memory"

// asked is a text that the embedder was asked about, and whose it is.
type asked struct{ tenant, userID, text string }

// usage is what the embedder has used for texts, a row for each user. Texts of
// several users share it by their lengths, since providers tell only the sum.
func (k *Keeper) usage(ctx context.Context, texts []asked, used model.Usage) []store.UsageRow {
	if used == (model.Usage{}) {
		return nil
	}
	var users []asked // without their texts
	lengths := make(map[asked]int64)
	var sum int64
	for _, text := range texts {
		user := asked{tenant: text.tenant, userID: text.userID}
		if lengths[user] == 0 {
			users = append(users, user)
		}
		lengths[user] += int64(len(text.text))
		sum += int64(len(text.text))
	}
	rows := make([]store.UsageRow, len(users))
	var before int64
	for i, user := range users {
		upTo := before + lengths[user]
		tokens := used.InputTokens*upTo/sum - used.InputTokens*before/sum // so that no token is lost
		before = upTo
		rows[i] = store.UsageRow{
			Tenant: user.tenant, ID: "emb_" + rand.Text(), UserID: user.userID, Agent: Agent, Model: k.cfg.Embedder.Name(),
			Time: time.Now(), InputTokens: tokens, Estimated: used.Estimated || len(users) > 1,
		}
		if k.cfg.Price != nil {
			cost := int64(k.cfg.Price.Cost(model.Usage{InputTokens: tokens}))
			rows[i].CostNano = &cost
		}
	}
	k.measure(ctx, rows)
	return rows
}

func (k *Keeper) measure(ctx context.Context, rows []store.UsageRow) {
	agent, of := attribute.String("agent", Agent), attribute.String("model", k.cfg.Embedder.Name())
	for _, row := range rows {
		k.tokens.Add(ctx, row.InputTokens, metric.WithAttributes(agent, of, attribute.String("type", "input")))
		if row.CostNano != nil {
			k.cost.Add(ctx, model.Money(*row.CostNano).USD(), metric.WithAttributes(agent, of))
		}
	}
}

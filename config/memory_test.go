package config

import (
	"strings"
	"testing"
)

func TestMemory(t *testing.T) {
	t.Parallel()
	for file, want := range map[string]Memory{
		"limits:":                             {MinSimilarity: 0.3, MaxPerUser: 10_000},
		"memory:":                             {MinSimilarity: 0.3, MaxPerUser: 10_000},
		"memory: {embedding_model: }":         {MinSimilarity: 0.3, MaxPerUser: 10_000},
		"memory: {min_similarity: 0}":         {MaxPerUser: 10_000},
		"memory: {max_per_user: 0}":           {MinSimilarity: 0.3},
		"memory: {max_per_user: 1_000}":       {MinSimilarity: 0.3, MaxPerUser: 1000},
		"memory: {embedding_model: \"${M}\"}": {EmbeddingModel: "openai/text-embedding-3-small", MinSimilarity: 0.3, MaxPerUser: 10_000},
		"{providers: {l: {type: openai, base_url: \"http://l\"}}, memory: {embedding_model: \"l/a:b\", min_similarity: 1}}": {
			EmbeddingModel: "l/a:b", MinSimilarity: 1, MaxPerUser: 10_000,
		},
	} {
		equal(t, mustParse(t, file, "M", "openai/text-embedding-3-small").Memory, want)
	}
	file, err := Default(environment())
	if err != nil {
		t.Fatal(err)
	}
	equal(t, file.Memory, Memory{MinSimilarity: 0.3, MaxPerUser: 10_000})
}

func TestMistakesInMemory(t *testing.T) {
	t.Parallel()
	for file, says := range map[string]string{
		"memory: {embedding_model: opena/small}":      `1:27: memory.embedding_model: no provider "opena"; did you mean "openai"?`,
		"memory: {embedding_model: openai}":           "memory.embedding_model: wants a model of that provider",
		"memory: {embedding_model: small}":            `memory.embedding_model: no provider is named in "small"`,
		"memory: {embedding_model: offline}":          "memory.embedding_model: the model offline makes no embeddings; name one of",
		"memory: {embedding_model: anthropic/claude}": "memory.embedding_model: a provider of type anthropic makes no embeddings; name one of",
		"memory: {embedding_model: [openai/a]}":       "memory.embedding_model: wants text, not a list",
		"memory: {min_similarity: 1.1}":               "memory.min_similarity: wants a number from 0 to 1",
		"memory: {max_per_user: -1}":                  "memory.max_per_user: wants 0 to 1000000, not -1",
		"memory: {max_per_user: all}":                 "memory.max_per_user: wants a whole number such as 10000",
		"memory: {min_similarity: near}":              "memory.min_similarity: wants a number from 0 to 1",
		"memory: {embeding_model: openai/a}":          `did you mean "embedding_model"?`,
		"memory: openai/text-embedding-3-small":       "memory: wants keys with values",
		"{providers: {c: {type: anthropic, base_url: \"http://c\"}}, memory: {embedding_model: c/a}}": "of type anthropic makes no embeddings",
	} {
		if got := mistakesIn(t, file); !strings.Contains(got, says) {
			t.Errorf("%s\ngot  %s\nwant %s", file, got, says)
		}
	}
}

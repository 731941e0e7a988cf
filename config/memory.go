package config

import "strings"

// Memory is `memory`.
type Memory struct {
	// EmbeddingModel is a model of a provider of type OpenAI, `provider/model`, by
	// which notes are found by their meaning too; empty for none.
	EmbeddingModel string
	// MinSimilarity is the least cosine that makes a note near to what is looked
	// for, from 0 to 1.
	MinSimilarity float64
	// MaxPerUser is how many notes a user has at most; 0 is any number.
	MaxPerUser int
}

// defaultMinSimilarity suits OpenAI's third generation of embedding models.
const defaultMinSimilarity = 0.3

const (
	// defaultMaxPerUser is as many as are compared by their meaning.
	defaultMaxPerUser = 10_000
	mostPerUser       = 1_000_000
)

func defaultMemory() Memory {
	return Memory{MinSimilarity: defaultMinSimilarity, MaxPerUser: defaultMaxPerUser}
}

// memory reads `memory`, whose model may be one of the named providers.
func (v value) memory(providers []Provider, names []string) Memory {
	memory := defaultMemory()
	var model value
	v.object(fields{
		"embedding_model": keep(&model),
		"min_similarity":  share(&memory.MinSimilarity),
		"max_per_user":    whole(&memory.MaxPerUser, 0, mostPerUser),
	})
	s, ok := model.text()
	if !ok || s == "" {
		return memory
	}
	const example = `name one of a provider of type openai, such as "openai/text-embedding-3-small"`
	if s == Offline {
		model.wrong("the model offline makes no embeddings", example)
		return memory
	}
	if !model.model(s, names) {
		return memory
	}
	provider, _, _ := strings.Cut(s, "/")
	if find(providers, provider).Type == Anthropic {
		model.wrong("a provider of type anthropic makes no embeddings", example)
		return memory
	}
	memory.EmbeddingModel = s
	return memory
}

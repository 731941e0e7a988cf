package model

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
)

// ErrText is in an Error of KindRejected when the provider takes none of a
// call's texts because of one of them, which may be too long for the model.
var ErrText = errors.New("the provider refused the text")

// Embedder turns texts into vectors over OpenAI's embeddings. Safe for
// concurrent use.
type Embedder struct {
	remote

	embeddings openai.EmbeddingService
	// dimensions is how many numbers a vector has, once one has come.
	dimensions atomic.Int64
}

// NewEmbedder makes an embedder of the model that cfg says.
func NewEmbedder(cfg OpenAIConfig) (*Embedder, error) {
	e := &Embedder{remote: remote{
		name: cfg.Name, model: cfg.Model, base: cfg.BaseURL, key: cfg.APIKey,
		timeout: cfg.Timeout, retries: cfg.MaxRetries, client: cfg.HTTPClient,
	}}
	if _, err := e.complete(DefaultOpenAIBaseURL); err != nil {
		return nil, err
	}
	e.embeddings = openai.NewEmbeddingService(
		option.WithBaseURL(e.base),
		option.WithAPIKey(e.key),
		option.WithHTTPClient(e.client),
		option.WithMaxRetries(0), // retried here, as all calls are
	)
	return e, nil
}

// Name is how a configuration and the price table write the model.
func (e *Embedder) Name() string { return e.name }

// Embed returns a vector for each of texts, in their order, and what it took.
// Vectors are of length 1, and all that an embedder ever returns have as many
// numbers. A failed try is repeated like a model's. Every error is an *Error, or
// ctx's; with an error, the usage is still that of the tries so far.
func (e *Embedder) Embed(ctx context.Context, texts []string) (vectors [][]float32, used Usage, err error) {
	if len(texts) == 0 {
		return nil, Usage{}, nil
	}
	reply, err := e.generate(ctx, func() (Reply, *failure) {
		got, usage, failed := e.try(ctx, texts)
		vectors = got
		return Reply{Usage: usage}, failed
	})
	return vectors, reply.Usage, err
}

// try asks once. What was refused costs nothing; what was answered wrongly, or
// left unanswered when we left, has been worked for.
func (e *Embedder) try(ctx context.Context, texts []string) ([][]float32, Usage, *failure) {
	call, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silence := time.AfterFunc(e.timeout, func() { cancel(errSilent) })
	defer silence.Stop()

	x := exchange{silence: silence, timeout: e.timeout}
	var body []byte
	_, err := e.embeddings.New(call, openai.EmbeddingNewParams{
		Model:          e.model,
		Input:          openai.EmbeddingNewParamsInputUnion{OfArrayOfStrings: texts},
		EncodingFormat: openai.EmbeddingNewParamsEncodingFormatFloat,
	}, option.WithResponseInto(&x.res), option.WithResponseBodyInto(&body), option.WithMiddleware(x.pass))
	guess := guessTexts(texts)
	switch {
	case errors.Is(context.Cause(call), errSilent):
		return nil, guess, e.failure(KindTimeout, false, fmt.Errorf("%w: %v", errSilent, e.timeout))
	case err != nil && call.Err() != nil && x.sent:
		return nil, guess, e.sort(err, false)
	case err != nil && x.res != nil && x.res.StatusCode >= http.StatusBadRequest:
		return nil, Usage{}, e.refused(refusal(x.res))
	case err != nil && !x.sent:
		return nil, Usage{}, e.sort(fmt.Errorf("%w: %w", errUnsent, err), false)
	case err != nil && x.res != nil: // broken off within its body
		return nil, guess, e.sort(fmt.Errorf("reading the vectors: %w", err), false)
	case err != nil:
		return nil, Usage{}, e.sort(fmt.Errorf("reaching the provider: %w", err), false)
	}
	vectors, used, err := readEmbeddings(body, len(texts))
	if !used.possible() {
		used = guess
	}
	if err == nil {
		err = e.fit(vectors)
	}
	if err != nil {
		return nil, used, e.sort(err, true)
	}
	return vectors, used, nil
}

// refused tells a text that the provider does not take from all else.
func (e *Embedder) refused(answer *statusError) *failure {
	failed := e.sort(answer, false)
	switch answer.status {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity:
		failed.Err = fmt.Errorf("%w: %w", ErrText, failed.Err)
	}
	return failed
}

// fit refuses vectors that cannot be compared with those before them.
func (e *Embedder) fit(vectors [][]float32) error {
	for _, vector := range vectors {
		dimensions := int64(len(vector))
		if !e.dimensions.CompareAndSwap(0, dimensions) && e.dimensions.Load() != dimensions {
			return fmt.Errorf("%w: a vector of %d numbers after those of %d", errShape, dimensions, e.dimensions.Load())
		}
	}
	return nil
}

// guessTexts is what texts take, by our count.
func guessTexts(texts []string) Usage {
	used := Usage{Estimated: true}
	for _, text := range texts {
		used.InputTokens += max(guessTokens(text), 1)
	}
	return used
}

// embeddings is the published answer.
type embeddings struct {
	Data []struct {
		// Index is which text it is of; servers that leave it out keep the order.
		Index     *int      `json:"index"`
		Embedding []float64 `json:"embedding"`
	} `json:"data"`
	Usage struct {
		PromptTokens int64 `json:"prompt_tokens"`
		TotalTokens  int64 `json:"total_tokens"`
	} `json:"usage"`
}

// readEmbeddings reads the vectors of so many texts. The usage is there also
// when they are wrong.
func readEmbeddings(body []byte, texts int) ([][]float32, Usage, error) {
	var answer embeddings
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, Usage{}, fmt.Errorf("%w: %w", errShape, err)
	}
	used := Usage{InputTokens: max(answer.Usage.PromptTokens, answer.Usage.TotalTokens)}
	if len(answer.Data) != texts {
		return nil, used, fmt.Errorf("%w: %d vectors for %d texts", errShape, len(answer.Data), texts)
	}
	vectors := make([][]float32, texts)
	for i, item := range answer.Data {
		if item.Index != nil {
			i = *item.Index
		}
		if i < 0 || i >= texts || vectors[i] != nil {
			return nil, used, fmt.Errorf("%w: a vector of text %d, which is none or has one", errShape, i)
		}
		if vectors[i] = unit(item.Embedding); vectors[i] == nil {
			return nil, used, fmt.Errorf("%w: a vector without a direction", errShape)
		}
	}
	return vectors, used, nil
}

// unit is a vector of length 1 in the same direction; nil if there is none.
func unit(vector []float64) []float32 {
	var largest, sum float64
	for _, x := range vector {
		largest = max(largest, math.Abs(x))
	}
	if largest == 0 {
		return nil
	}
	for _, x := range vector { // by the largest, so that no square overflows
		sum += x / largest * (x / largest)
	}
	length := math.Sqrt(sum)
	scaled := make([]float32, len(vector))
	for i, x := range vector {
		scaled[i] = float32(x / largest / length)
	}
	return scaled
}

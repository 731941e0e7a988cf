package model

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"net"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func newTestEmbedder(t testing.TB, client *http.Client) *Embedder {
	t.Helper()
	e, err := NewEmbedder(OpenAIConfig{
		Name: "local/m", Model: "m", BaseURL: "http://provider.test/v1", APIKey: testKey, HTTPClient: client,
	})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

const (
	vectorOf1 = `{"object":"embedding","index":1,"embedding":[0,-2]}`
	vectorOf0 = `{"object":"embedding","index":0,"embedding":[3,4]}`
	told9     = `"model":"m-2","usage":{"prompt_tokens":9,"total_tokens":9}`
)

func embedded(data string) func(net.Conn) {
	return status("200 OK", `{"object":"list","data":[`+data+`],`+told9+`}`)
}

func TestEmbedderAsksAsPublished(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &wire{answers: []func(net.Conn){embedded(vectorOf1 + "," + vectorOf0)}}
		e := newTestEmbedder(t, w.client())
		vectors, used, err := e.Embed(t.Context(), []string{"green tea", `a "cat"`})
		if err != nil || !reflect.DeepEqual(vectors, [][]float32{{0.6, 0.8}, {0, -1}}) || used != (Usage{InputTokens: 9}) {
			t.Errorf("got %v, %+v, %v", vectors, used, err)
		}
		request := w.sent()[0]
		var body map[string]any
		if err := json.Unmarshal([]byte(request.body), &body); err != nil {
			t.Fatal(err)
		}
		want := map[string]any{"model": "m", "input": []any{"green tea", `a "cat"`}, "encoding_format": "float"}
		if request.path != "/v1/embeddings" || request.header.Get("Authorization") != "Bearer "+testKey || !reflect.DeepEqual(body, want) {
			t.Errorf("sent %s %v", request.path, body)
		}
		if vectors, used, err := e.Embed(t.Context(), nil); err != nil || vectors != nil || used != (Usage{}) || len(w.sent()) != 1 {
			t.Errorf("nothing is asked as %v, %+v, %v", vectors, used, err)
		}
	})
}

// What comes of a call, what it is said to have used, and how long it took.
func TestEmbedderFailure(t *testing.T) {
	t.Parallel()
	good := embedded(vectorOf0 + "," + vectorOf1)
	guess := guessTexts([]string{"green tea", "a cat"})
	told := Usage{InputTokens: 9}
	for name, test := range map[string]struct {
		answers  []func(net.Conn)
		kind     ErrorKind // empty: it succeeds in the end
		text     bool      // it is ErrText
		usage    Usage
		requests int
		took     time.Duration // at least; 0 is no time at all
	}{
		"out of order":               {[]func(net.Conn){embedded(vectorOf1 + "," + vectorOf0)}, "", false, told, 1, 0},
		"without indexes":            {[]func(net.Conn){embedded(`{"embedding":[3,4]},{"embedding":[0,-2]}`)}, "", false, told, 1, 0},
		"numbers that would overrun": {[]func(net.Conn){embedded(`{"embedding":[3e300,4e300]},{"embedding":[0,-2e-300]}`)}, "", false, told, 1, 0},
		"without a usage": {
			[]func(net.Conn){status("200 OK", `{"data":[`+vectorOf0+","+vectorOf1+`]}`)}, "", false, guess, 1, 0,
		},
		"a usage that cannot be": {
			[]func(net.Conn){status("200 OK", `{"data":[`+vectorOf0+","+vectorOf1+`],"usage":{"prompt_tokens":-7}}`)}, "", false, guess, 1, 0,
		},
		"429, then an answer": {
			[]func(net.Conn){status("429 Too Many", `{}`, "Retry-After: 7"), good}, "", false, told, 2, 7 * time.Second,
		},
		"hung up, 503, then an answer": {[]func(net.Conn){write(), status("503 No", ``), good}, "", false, told, 3, 750 * time.Millisecond},
		"429 for long":                 {[]func(net.Conn){status("429 Too Many", `{}`, "Retry-After: 3600")}, KindRateLimited, false, Usage{}, 1, 0},
		"503 for ever":                 {[]func(net.Conn){status("503 No", `{}`)}, KindUnavailable, false, Usage{}, 3, 750 * time.Millisecond},
		"401":                          {[]func(net.Conn){status("401 No", `{"error":{"message":"bad key `+testKey+`"}}`)}, KindRejected, false, Usage{}, 1, 0},
		"400":                          {[]func(net.Conn){status("400 No", `{"error":{"message":"too long"}}`)}, KindRejected, true, Usage{}, 1, 0},
		"413":                          {[]func(net.Conn){status("413 No", `too large`)}, KindRejected, true, Usage{}, 1, 0},
		"no answer":                    {[]func(net.Conn){hang()}, KindTimeout, false, guess, 1, DefaultTimeout},
		"half an answer": {
			[]func(net.Conn){hang("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\nContent-Type: application/json\r\n\r\n" + `{"data":[`)},
			KindTimeout, false, guess, 1, DefaultTimeout,
		},
		"cut off, then an answer": {
			[]func(net.Conn){write("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\nContent-Type: application/json\r\n\r\n" + `{"data":[`), good},
			"", false, guess.plus(told), 2, 250 * time.Millisecond,
		},
		"one too few":             {[]func(net.Conn){embedded(vectorOf0)}, KindBroken, false, told, 1, 0},
		"one too many":            {[]func(net.Conn){embedded(vectorOf0 + "," + vectorOf1 + "," + vectorOf1)}, KindBroken, false, told, 1, 0},
		"one twice":               {[]func(net.Conn){embedded(vectorOf1 + "," + vectorOf1)}, KindBroken, false, told, 1, 0},
		"an index beyond":         {[]func(net.Conn){embedded(vectorOf0 + `,{"index":2,"embedding":[1]}`)}, KindBroken, false, told, 1, 0},
		"an index before":         {[]func(net.Conn){embedded(vectorOf0 + `,{"index":-1,"embedding":[1]}`)}, KindBroken, false, told, 1, 0},
		"different lengths":       {[]func(net.Conn){embedded(vectorOf0 + `,{"index":1,"embedding":[1]}`)}, KindBroken, false, told, 1, 0},
		"an empty vector":         {[]func(net.Conn){embedded(vectorOf0 + `,{"index":1,"embedding":[]}`)}, KindBroken, false, told, 1, 0},
		"a vector of zeros":       {[]func(net.Conn){embedded(vectorOf0 + `,{"index":1,"embedding":[0,0]}`)}, KindBroken, false, told, 1, 0},
		"a number that is none":   {[]func(net.Conn){embedded(vectorOf0 + `,{"index":1,"embedding":[0,NaN]}`)}, KindBroken, false, guess, 1, 0},
		"a number without end":    {[]func(net.Conn){embedded(vectorOf0 + `,{"index":1,"embedding":[0,1e999]}`)}, KindBroken, false, guess, 1, 0},
		"base64":                  {[]func(net.Conn){embedded(vectorOf0 + `,{"index":1,"embedding":"AACAPw=="}`)}, KindBroken, false, guess, 1, 0},
		"no JSON":                 {[]func(net.Conn){status("200 OK", `<html>`)}, KindBroken, false, guess, 1, 0},
		"nothing":                 {[]func(net.Conn){status("200 OK", ``)}, KindBroken, false, guess, 1, 0},
		"a JSON of another shape": {[]func(net.Conn){status("200 OK", `{"error":"no"}`)}, KindBroken, false, guess, 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := &wire{answers: test.answers}
				begin := time.Now()
				vectors, used, err := newTestEmbedder(t, w.client()).Embed(t.Context(), []string{"green tea", "a cat"})
				took := time.Since(begin)
				if kindOf(err) != test.kind || errors.Is(err, ErrText) != test.text || used != test.usage || len(w.sent()) != test.requests {
					t.Errorf("got %v, %+v after %d requests", err, used, len(w.sent()))
				}
				if (err == nil) != reflect.DeepEqual(vectors, [][]float32{{0.6, 0.8}, {0, -1}}) {
					t.Errorf("got %v, %v", vectors, err)
				}
				if took < test.took || took > 2*test.took {
					t.Errorf("it took %v", took)
				}
				if err != nil && strings.Contains(err.Error(), testKey) {
					t.Errorf("the key is shown: %v", err)
				}
			})
		})
	}
}

func TestEmbedderRefusesAChangeOfDimensions(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &wire{answers: []func(net.Conn){embedded(vectorOf0), embedded(`{"index":0,"embedding":[1,2,3]}`), embedded(vectorOf0)}}
		e := newTestEmbedder(t, w.client())
		for i, kind := range []ErrorKind{"", KindBroken, ""} {
			if _, _, err := e.Embed(t.Context(), []string{"tea"}); kindOf(err) != kind {
				t.Errorf("call %d: %v", i, err)
			}
		}
	})
}

// A call that its caller leaves ends at once, and counts what may be billed.
func TestEmbedderIsLeft(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &wire{answers: []func(net.Conn){hang()}}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begin := time.Now()
		_, used, err := newTestEmbedder(t, w.client()).Embed(ctx, []string{"tea"})
		if took := time.Since(begin); !errors.Is(err, context.DeadlineExceeded) || used != guessTexts([]string{"tea"}) || took != time.Second {
			t.Errorf("got %v, %+v after %v", err, used, took)
		}
	})
}

func TestEmbedderNeedsItsNames(t *testing.T) {
	t.Parallel()
	for _, cfg := range []OpenAIConfig{{}, {Name: "a/b"}, {Name: "a/b", Model: "b", BaseURL: "ftp://a"}} {
		if _, err := NewEmbedder(cfg); err == nil {
			t.Errorf("%+v makes one", cfg)
		}
	}
}

// Whatever a provider sends, vectors are of length 1 and as many as were asked for.
func FuzzEmbeddings(f *testing.F) {
	for _, data := range []string{vectorOf0 + "," + vectorOf1, vectorOf1, `{"embedding":[1e308,-1e308]},{"embedding":[5e-324]}`} {
		f.Add(`{"data":[` + data + `],` + told9 + `}`)
	}
	f.Fuzz(func(t *testing.T, body string) {
		vectors, used, err := readEmbeddings([]byte(body), 2)
		if used.OutputTokens != 0 || used.CachedInputTokens != 0 {
			t.Errorf("used %+v", used)
		}
		if err != nil {
			return
		}
		if len(vectors) != 2 {
			t.Errorf("%d vectors", len(vectors))
		}
		for _, vector := range vectors {
			var length float64
			for _, x := range vector {
				length += float64(x) * float64(x)
			}
			if math.Abs(length-1) > 1e-5 {
				t.Errorf("%v is not of length 1", vector)
			}
		}
	})
}

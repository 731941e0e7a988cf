// Command wire is a model provider that costs nothing: it speaks OpenAI's chat
// completions, as a stream, from constants. The model words-N answers with N
// words, each an event that is sent at once. It prints the address it listens on.
package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

// What OpenAI sends of a reply: its pieces, its end, and what it has used.
const (
	head  = `data: {"id":"chatcmpl-0","object":"chat.completion.chunk","created":1700000000,"model":"words","service_tier":"default","system_fingerprint":"fp_0","choices":[`
	role  = head + `{"index":0,"delta":{"role":"assistant","content":"","refusal":null},"logprobs":null,"finish_reason":null}],"usage":null}` + "\n\n"
	word  = head + `{"index":0,"delta":{"content":"word "},"logprobs":null,"finish_reason":null}],"usage":null}` + "\n\n"
	stop  = head + `{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}],"usage":null}` + "\n\n"
	usage = head + `],"usage":{"prompt_tokens":10,"completion_tokens":%d,"total_tokens":%d}}` + "\n\n"
	done  = "data: [DONE]\n\n"
)

func complete(w http.ResponseWriter, r *http.Request) {
	var request struct {
		Model string `json:"model"`
	}
	if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	words, err := strconv.Atoi(strings.TrimPrefix(request.Model, "words-"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	flusher := http.NewResponseController(w)
	send := func(event string) {
		if err == nil {
			_, err = w.Write([]byte(event))
		}
		if err == nil {
			err = flusher.Flush()
		}
	}
	send(role)
	for range words {
		send(word)
	}
	send(stop)
	send(fmt.Sprintf(usage, words, 10+words))
	send(done)
}

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err == nil {
		fmt.Printf("http://%s\n", listener.Addr())
		http.HandleFunc("POST /chat/completions", complete)
		err = (&http.Server{ReadHeaderTimeout: time.Minute}).Serve(listener)
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

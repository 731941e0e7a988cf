package mcp

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
)

// maxMessage is how long a message of a server may be, in bytes. It is far more
// than a tool's answer keeps, since that may have pictures beside its text.
const maxMessage = 16 << 20

// newWire makes the transport to the server, for one session.
func (s *Server) newWire(ctx context.Context) wire {
	if s.cfg.URL != "" {
		return newHTTPWire(s.cfg.URL, s.cfg.Headers)
	}
	return newProcess(context.WithoutCancel(ctx), s.cfg.Command, s.cfg.Env, s.log)
}

// tooLong is what a call is answered whose answer was longer than maxMessage.
func tooLong(id jsonrpc.ID) *jsonrpc.Response {
	return &jsonrpc.Response{ID: id, Error: &jsonrpc.Error{
		Code:    jsonrpc.CodeInternalError,
		Message: fmt.Sprintf("its answer is longer than %d MiB and was dropped", maxMessage>>20),
	}}
}

// skimmer reads a JSON object of any length, a piece at a time, for its `id`,
// and keeps nothing else. The zero value is at the object's beginning.
type skimmer struct {
	depth           int
	quoted, escaped bool
	// inValue: what comes at depth 1 belongs to the value of key.
	inValue bool
	key     []byte
	id      []byte
	request bool // it has a method, so it answers nothing
}

// longestKey is more than a key that matters takes, and an id.
const longestKey = 64

func (s *skimmer) read(piece []byte) {
	for i := 0; i < len(piece); i++ {
		if s.quoted && !s.escaped && s.depth > 1 { // long texts go by at once
			end := bytes.IndexAny(piece[i:], `"\`)
			if end < 0 {
				return
			}
			i += end
		}
		s.next(piece[i])
	}
}

func (s *skimmer) next(c byte) {
	switch {
	case s.escaped:
		s.escaped = false
	case s.quoted && c == '\\':
		s.escaped = true
	case c == '"':
		s.quoted = !s.quoted
	case s.quoted:
	case c == '{' || c == '[':
		s.depth++
		if s.depth == 1 {
			return
		}
	case c == '}' || c == ']':
		s.depth--
	}
	if s.depth != 1 {
		return
	}
	switch outside := !s.quoted; {
	case outside && c == ',':
		s.inValue, s.key = false, s.key[:0]
	case outside && c == ':' && !s.inValue:
		s.inValue = true
		s.request = s.request || string(s.key) == `"method"`
	case outside && (c == ' ' || c == '\t' || c == '\r' || c == '\n'):
	case !s.inValue && len(s.key) < longestKey:
		s.key = append(s.key, c)
	case s.inValue && string(s.key) == `"id"` && len(s.id) < longestKey:
		s.id = append(s.id, c)
	}
}

// answers is the id of the call that the object answers; false if none can be
// told.
func (s *skimmer) answers() (jsonrpc.ID, bool) {
	var value any
	if s.request || json.Unmarshal(s.id, &value) != nil || value == nil {
		return jsonrpc.ID{}, false
	}
	id, err := jsonrpc.MakeID(value)
	return id, err == nil
}

package telemetry

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math"
	"slices"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"

	"go.opentelemetry.io/otel/trace"
)

// jsonHandler writes what slog.JSONHandler would, with our names, in half the
// time: a line is written for every call that is served.
type jsonHandler struct {
	out   *lineWriter
	level slog.Leveler
	name  string

	attrs  []byte   // what With has added, ready to be copied
	open   int      // the groups that are open in attrs
	groups []string // the groups after them, with nothing in them yet
}

// lineWriter is shared by all loggers that come of one.
type lineWriter struct {
	mu sync.Mutex
	w  io.Writer

	buffers sync.Pool // of *[]byte
}

// keptBuffer is the longest buffer worth keeping, in bytes.
const keptBuffer = 16 << 10

func (w *lineWriter) buffer() *[]byte {
	if b, ok := w.buffers.Get().(*[]byte); ok {
		return b
	}
	return new(make([]byte, 0, 1024))
}

func (w *lineWriter) release(b *[]byte, line []byte) {
	if cap(line) <= keptBuffer {
		*b = line[:0]
		w.buffers.Put(b)
	}
}

func (w *lineWriter) write(line []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, err := w.w.Write(line); err != nil {
		return fmt.Errorf("writing the log: %w", err)
	}
	return nil
}

// Enabled implements slog.Handler.
func (h *jsonHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= h.level.Level()
}

// Handle implements slog.Handler.
func (h *jsonHandler) Handle(ctx context.Context, r slog.Record) error {
	buffer := h.out.buffer()
	line := append(*buffer, '{')
	if !r.Time.IsZero() {
		line = appendTime(appendKey(line, "timestamp"), r.Time)
	}
	line = appendString(appendKey(line, "level"), r.Level.String())
	line = appendString(appendKey(line, loggerKey), h.name)
	line = appendString(appendKey(line, "message"), r.Message)
	if span := trace.SpanContextFromContext(ctx); span.IsValid() {
		traceID, spanID := span.TraceID(), span.SpanID()
		line = append(hex.AppendEncode(append(appendKey(line, "trace_id"), '"'), traceID[:]), '"')
		line = append(hex.AppendEncode(append(appendKey(line, "span_id"), '"'), spanID[:]), '"')
	}
	line = append(line, h.attrs...)

	line, opened := h.appendInGroups(line, func(line []byte) []byte {
		r.Attrs(func(a slog.Attr) bool {
			line = appendAttr(line, a)
			return true
		})
		return line
	})
	for range h.open + opened {
		line = append(line, '}')
	}
	line = append(line, '}', '\n')
	defer h.out.release(buffer, line)
	return h.out.write(line)
}

// WithAttrs implements slog.Handler.
func (h *jsonHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	next := *h
	added, opened := h.appendInGroups(bytes.Clone(h.attrs), func(added []byte) []byte {
		for _, a := range attrs {
			if a.Key == loggerKey && h.open+len(h.groups) == 0 {
				next.name = a.Value.Resolve().String()
				continue
			}
			added = appendAttr(added, a)
		}
		return added
	})
	next.attrs = added
	if opened > 0 {
		next.open, next.groups = h.open+opened, nil
	}
	return &next
}

// WithGroup implements slog.Handler.
func (h *jsonHandler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	next := *h
	next.groups = slices.Concat(h.groups, []string{name})
	return &next
}

// appendInGroups appends what add does inside the waiting groups, and says how
// many of them are open now: all or, when nothing came, none.
func (h *jsonHandler) appendInGroups(line []byte, add func([]byte) []byte) (added []byte, opened int) {
	before := len(line)
	for _, group := range h.groups {
		line = append(appendKey(line, group), '{')
	}
	empty := len(line)
	if line = add(line); len(line) == empty {
		return line[:before], 0
	}
	return line, len(h.groups)
}

func appendAttr(line []byte, a slog.Attr) []byte {
	a.Value = a.Value.Resolve()
	switch {
	case a.Value.Kind() == slog.KindGroup:
		return appendGroup(line, a)
	case a.Key == "" && a.Value.Kind() == slog.KindAny && a.Value.Any() == nil: // the zero Attr
		return line
	case isSecret(a):
		return appendString(appendKey(line, a.Key), redacted)
	default:
		return appendValue(appendKey(line, a.Key), a.Value)
	}
}

// appendGroup leaves out a group that is empty, and the braces of one that has
// no name.
func appendGroup(line []byte, a slog.Attr) []byte {
	before := len(line)
	if a.Key != "" {
		line = append(appendKey(line, a.Key), '{')
	}
	empty := len(line)
	for _, inner := range a.Value.Group() {
		line = appendAttr(line, inner)
	}
	switch {
	case len(line) == empty:
		return line[:before]
	case a.Key != "":
		return append(line, '}')
	default:
		return line
	}
}

func appendKey(line []byte, key string) []byte {
	if len(line) == 0 || line[len(line)-1] != '{' {
		line = append(line, ',')
	}
	return append(appendString(line, key), ':')
}

func appendValue(line []byte, v slog.Value) []byte {
	switch v.Kind() {
	case slog.KindString:
		return appendString(line, v.String())
	case slog.KindInt64:
		return strconv.AppendInt(line, v.Int64(), 10)
	case slog.KindUint64:
		return strconv.AppendUint(line, v.Uint64(), 10)
	case slog.KindFloat64:
		if f := v.Float64(); math.IsNaN(f) || math.IsInf(f, 0) {
			return appendString(line, v.String())
		}
		return strconv.AppendFloat(line, v.Float64(), 'g', -1, 64)
	case slog.KindBool:
		return strconv.AppendBool(line, v.Bool())
	case slog.KindDuration:
		return strconv.AppendInt(line, int64(v.Duration()), 10)
	case slog.KindTime:
		return appendTime(line, v.Time())
	default:
		return appendAny(line, v.Any())
	}
}

func appendTime(line []byte, t time.Time) []byte {
	return append(t.UTC().AppendFormat(append(line, '"'), time.RFC3339Nano), '"')
}

// appendString leaves what needs escaping to encoding/json.
func appendString(line []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			return appendJSON(line, s)
		}
	}
	return append(append(append(line, '"'), s...), '"')
}

// appendAny survives values that panic when they are asked to show themselves:
// what is logged of a bug is likely to be broken.
func appendAny(line []byte, value any) (appended []byte) {
	defer func() {
		if r := recover(); r != nil {
			appended = appendString(line, fmt.Sprintf("!PANIC: %v", r))
		}
	}()
	if err, ok := value.(error); ok {
		if _, marshals := value.(json.Marshaler); !marshals {
			return appendString(line, err.Error())
		}
	}
	return appendJSON(line, value)
}

func appendJSON(line []byte, value any) []byte {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return appendString(line, "!ERROR: "+err.Error())
	}
	return append(line, bytes.TrimRight(b.Bytes(), "\n")...)
}

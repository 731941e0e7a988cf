package telemetry

import (
	"io"
	"log/slog"
	"os"
	"strings"
)

// The formats of the log.
const (
	// FormatJSON is a JSON object a line, for machines.
	FormatJSON = "json"
	// FormatText is `key=value` pairs, for people at a terminal.
	FormatText = "text"
)

// DefaultFormat is FormatText when f is a terminal, else FormatJSON.
func DefaultFormat(f *os.File) string {
	if info, err := f.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
		return FormatText
	}
	return FormatJSON
}

// NewLogger writes a line a record to w, FormatText if that is the format and
// FormatJSON otherwise. A JSON line holds `timestamp` (RFC 3339, UTC, to the
// nanosecond), `level`, `logger`, `message`, in a span `trace_id` and
// `span_id`, and the record's attributes, durations in nanoseconds. `logger`
// is who speaks: the name last set with `log.With("logger", name)`, and
// `runwire` where none is. A text line has the time of day, and no ids.
//
// In both, the value of an attribute whose name says that it is a secret (it
// ends in api_key, authorization, password, secret or token) is replaced.
//
// Safe for concurrent use. Lines are written one at a time, so while w blocks
// everyone who logs waits.
func NewLogger(w io.Writer, format string, level slog.Leveler) *slog.Logger {
	if format == FormatText {
		return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level, ReplaceAttr: textAttr}))
	}
	return slog.New(&jsonHandler{out: &lineWriter{w: w}, level: level, name: "runwire"})
}

func textAttr(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.TimeKey && a.Value.Kind() == slog.KindTime {
		return slog.String(slog.TimeKey, a.Value.Time().Format("15:04:05.000"))
	}
	if isSecret(a) {
		return slog.String(a.Key, redacted)
	}
	return a
}

const (
	redacted  = "[redacted]"
	loggerKey = "logger" // the attribute that names who speaks
)

// isSecret is asked of every attribute of every line; most names are let go by
// their last letter. Numbers pass: a `time_to_first_token` is no secret.
func isSecret(a slog.Attr) bool {
	kind := a.Value.Kind()
	if a.Key == "" || kind != slog.KindString && kind != slog.KindAny {
		return false
	}
	switch a.Key[len(a.Key)-1] | 0x20 {
	case 'y':
		return endsIn(a.Key, "api_key") || endsIn(a.Key, "api-key") || endsIn(a.Key, "apikey")
	case 'n':
		return endsIn(a.Key, "authorization") || endsIn(a.Key, "token")
	case 'd':
		return endsIn(a.Key, "password")
	case 't':
		return endsIn(a.Key, "secret")
	default:
		return false
	}
}

func endsIn(name, word string) bool {
	at := len(name) - len(word)
	return at >= 0 && strings.EqualFold(name[at:], word)
}

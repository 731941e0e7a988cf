package telemetry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/slogtest"
	"time"

	"go.opentelemetry.io/otel/trace"
)

// spanContext is a context in a span.
func spanContext(ctx context.Context) context.Context {
	return trace.ContextWithSpanContext(ctx, trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID{0x4b, 15: 0x36}, SpanID: trace.SpanID{0xf0, 7: 0xb7},
	}))
}

// line is what a log writes when write has told it something.
func line(t *testing.T, format string, write func(log *slog.Logger)) string {
	t.Helper()
	var out bytes.Buffer
	write(NewLogger(&out, format, slog.LevelInfo))
	return out.String()
}

func TestALineOfTheLog(t *testing.T) {
	t.Parallel()
	const ids = `"trace_id":"4b000000000000000000000000000036","span_id":"f0000000000000b7"`
	at := time.Date(2026, 1, 2, 3, 4, 5, 123456789, time.FixedZone("CET", 3600))
	for name, test := range map[string]struct {
		log   func(*slog.Logger) *slog.Logger
		span  bool
		attrs []slog.Attr
		want  string // after the level
	}{
		"bare": {want: `"logger":"runwire","message":"run finished"`},
		"in a span": {
			span: true, attrs: []slog.Attr{slog.String("run_id", "r1"), slog.Duration("latency", 1500*time.Millisecond)},
			want: `"logger":"runwire","message":"run finished",` + ids + `,"run_id":"r1","latency":1500000000`,
		},
		"named": {
			log:  func(l *slog.Logger) *slog.Logger { return l.With("logger", "runwire.server", "tenant", "acme") },
			want: `"logger":"runwire.server","message":"run finished","tenant":"acme"`,
		},
		"named twice": {
			log: func(l *slog.Logger) *slog.Logger {
				return l.With("logger", "runwire.server").With("logger", "runwire.agent")
			},
			want: `"logger":"runwire.agent","message":"run finished"`,
		},
		"in a group": {
			log:  func(l *slog.Logger) *slog.Logger { return l.WithGroup("").WithGroup("mcp").With("server", "files") },
			span: true, attrs: []slog.Attr{slog.String("logger", "inner")},
			want: `"logger":"runwire","message":"run finished",` + ids + `,"mcp":{"server":"files","logger":"inner"}`,
		},
		"every kind": {
			attrs: []slog.Attr{
				slog.Int("int", -1), slog.Uint64("uint", 1<<63), slog.Float64("float", 0.25), slog.Float64("nan", math.NaN()),
				slog.Bool("bool", true), slog.Time("begin", at), slog.Any("nil", nil), slog.Any("list", []int{1}),
				slog.Any("error", errors.New("connection\nrefused: <nil>")), slog.Any("ours", valuer("v")),
				slog.Any("chan", make(chan int)), slog.Any("broken", (*broken)(nil)), slog.Any("", nil),
				slog.Group("", slog.Int("inline", 1)), slog.Group("empty", slog.Group("inner")), slog.Group("g", slog.Int("x", 1)),
			},
			want: `"logger":"runwire","message":"run finished","int":-1,"uint":9223372036854775808,"float":0.25,"nan":"NaN",` +
				`"bool":true,"begin":"2026-01-02T02:04:05.123456789Z","nil":null,"list":[1],"error":"connection\nrefused: <nil>",` +
				`"ours":"v","chan":"!ERROR: json: unsupported type: chan int",` +
				`"broken":"!PANIC: runtime error: invalid memory address or nil pointer dereference","inline":1,"g":{"x":1}`,
		},
		"invalid UTF-8": {
			attrs: []slog.Attr{slog.String("user_id", "a\xffb")},
			want:  `"logger":"runwire","message":"run finished","user_id":"a\ufffdb"`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := line(t, FormatJSON, func(log *slog.Logger) {
				ctx := t.Context()
				if test.span {
					ctx = spanContext(ctx)
				}
				if test.log != nil {
					log = test.log(log)
				}
				record := slog.NewRecord(at, slog.LevelWarn, "run finished", 0)
				record.AddAttrs(test.attrs...)
				if err := log.Handler().Handle(ctx, record); err != nil {
					t.Error(err)
				}
			})
			want := `{"timestamp":"2026-01-02T02:04:05.123456789Z","level":"WARN",` + test.want + "}\n"
			if got != want {
				t.Errorf("got  %swant %s", got, want)
			}
			if !json.Valid([]byte(got)) {
				t.Error("this is no JSON")
			}
		})
	}
}

func TestALineForPeople(t *testing.T) {
	t.Parallel()
	got := line(t, FormatText, func(log *slog.Logger) {
		record := slog.NewRecord(time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC), slog.LevelInfo, "serving", 0)
		record.AddAttrs(slog.String("address", "127.0.0.1:50051"), slog.String("api_key", "rw_1"))
		if err := log.Handler().Handle(t.Context(), record); err != nil {
			t.Error(err)
		}
	})
	if want := "time=03:04:05.678 level=INFO msg=serving address=127.0.0.1:50051 api_key=[redacted]\n"; got != want {
		t.Errorf("got  %swant %s", got, want)
	}
}

func TestTheLevelCanChange(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	var level slog.LevelVar
	log := NewLogger(&out, FormatJSON, &level)
	log.Debug("unheard")
	level.Set(slog.LevelDebug)
	log.Debug("heard")
	if got := out.String(); strings.Contains(got, "unheard") || !strings.Contains(got, `"level":"DEBUG","logger":"runwire","message":"heard"`) {
		t.Errorf("got %s", got)
	}
}

func TestSecretsAreNotWritten(t *testing.T) {
	t.Parallel()
	const secret = "rw_live_0123456789"
	for _, key := range []string{
		"api_key", "x-api-key", "OPENAI_API_KEY", "apiKey", "authorization", "Authorization", "password", "db_password",
		"token", "access_token", "secret", "webhook-secret",
	} {
		for how, write := range map[string]func(*slog.Logger){
			"as an attribute": func(log *slog.Logger) { log.Info("x", key, secret) },
			"as bytes":        func(log *slog.Logger) { log.Info("x", key, []byte(secret)) },
			"with the logger": func(log *slog.Logger) { log.With(key, secret).Info("x") },
			"in a group":      func(log *slog.Logger) { log.Info("x", slog.Group("request", key, secret)) },
			"behind a valuer": func(log *slog.Logger) { log.Info("x", key, valuer(secret)) },
		} {
			for _, format := range []string{FormatJSON, FormatText} {
				got := line(t, format, write)
				if strings.Contains(got, secret) || !strings.Contains(got, "[redacted]") {
					t.Errorf("%s %s: %s", key, how, got)
				}
			}
		}
	}
}

// broken panics when it is asked what is wrong.
type broken struct{ cause error }

func (b *broken) Error() string { return b.cause.Error() }

type valuer string

func (v valuer) LogValue() slog.Value { return slog.StringValue(string(v)) }

func TestWhatIsNoSecretIsWritten(t *testing.T) {
	t.Parallel()
	got := line(t, FormatJSON, func(log *slog.Logger) {
		log.Info("x", "input_tokens", 17, "max_tokens", "17", "time_to_first_token", 17*time.Second, "token_type", "input", "key", "chat-backend")
	})
	if strings.Contains(got, "redacted") {
		t.Error(got)
	}
}

func TestTheHandlerKeepsSlogsContract(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	slogtest.Run(t, func(*testing.T) slog.Handler {
		out.Reset()
		return NewLogger(&out, FormatJSON, slog.LevelInfo).Handler()
	}, func(t *testing.T) map[string]any {
		t.Helper()
		written := map[string]any{}
		if err := json.Unmarshal(out.Bytes(), &written); err != nil {
			t.Fatal(err)
		}
		for ours, slogs := range map[string]string{"timestamp": slog.TimeKey, "message": slog.MessageKey} {
			if value, ok := written[ours]; ok {
				written[slogs] = value
			}
		}
		return written
	})
}

func TestAFileGetsJSON(t *testing.T) {
	t.Parallel()
	file, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	if got := DefaultFormat(file); got != FormatJSON {
		t.Errorf("got %s", got)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	if got := DefaultFormat(file); got != FormatJSON {
		t.Errorf("closed: got %s", got)
	}
}

func TestLoggersOfOneOriginShareLinesNotBytes(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer // written by one line at a time, or the race detector tells
	log := NewLogger(&out, FormatJSON, slog.LevelInfo).With("tenant", "acme").WithGroup("request")
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			mine := log.With("worker", i)
			for j := range 100 {
				mine.InfoContext(spanContext(t.Context()), "x", "text", strings.Repeat("y", j*50))
			}
		})
	}
	wg.Wait()
	lines := 0
	for got := range bytes.Lines(out.Bytes()) {
		if lines++; !json.Valid(got) {
			t.Fatalf("torn line: %s", got)
		}
	}
	if lines != 800 {
		t.Errorf("%d lines, want 800", lines)
	}
}

func TestAWriterThatFailsIsReported(t *testing.T) {
	t.Parallel()
	reader, writer := io.Pipe()
	if err := reader.CloseWithError(os.ErrClosed); err != nil {
		t.Fatal(err)
	}
	handler := NewLogger(writer, FormatJSON, slog.LevelInfo).Handler()
	if err := handler.Handle(t.Context(), slog.Record{Message: "lost"}); !errors.Is(err, os.ErrClosed) {
		t.Errorf("got %v", err)
	}
}

// slog's own handler, with our names, is the oracle.
func FuzzALineSaysWhatSlogWouldSay(f *testing.F) {
	f.Add("run finished", "group", "key", "value", int64(1), 0.5)
	f.Add("a\"b\\c\x00", "", "\xff", "\u2028<>&", int64(-1), 1e300)
	f.Fuzz(func(t *testing.T, message, group, key, text string, whole int64, part float64) {
		key = "x" + key // no name that either handler has given away
		if math.IsNaN(part) || math.IsInf(part, 0) {
			part = 0
		}
		write := func(log *slog.Logger) {
			record := slog.NewRecord(time.Unix(whole&0xffffffff, 0), slog.LevelInfo, message, 0)
			record.AddAttrs(slog.String(key, text), slog.Int64("whole", whole), slog.Float64("part", part),
				slog.Group(group, slog.Any(key, errors.New(text)), slog.Any("list", []string{text})))
			_ = log.With(key, whole).WithGroup(group).With(key, part).Handler().Handle(t.Context(), record)
		}
		var ours, slogs bytes.Buffer
		write(NewLogger(&ours, FormatJSON, slog.LevelInfo))
		write(slog.New(slog.NewJSONHandler(&slogs, &slog.HandlerOptions{ReplaceAttr: slogWithOurNames})))

		var got, want map[string]any
		if err := json.Unmarshal(ours.Bytes(), &got); err != nil {
			t.Fatalf("%v: %s", err, &ours)
		}
		if err := json.Unmarshal(slogs.Bytes(), &want); err != nil {
			t.Fatalf("slog: %v: %s", err, &slogs)
		}
		delete(got, loggerKey)
		delete(want, loggerKey)
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got  %swant %s", &ours, &slogs)
		}
	})
}

func slogWithOurNames(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 {
		switch a.Key {
		case slog.TimeKey:
			return slog.Time("timestamp", a.Value.Time().UTC())
		case slog.MessageKey:
			return slog.String("message", a.Value.String())
		}
	}
	if isSecret(a) {
		return slog.String(a.Key, redacted)
	}
	return a
}

package tool

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"
)

const anyObject = `{"type": "object"}`

func TestNew(t *testing.T) {
	t.Parallel()
	for name, def := range map[string]Definition{
		"letters, digits and marks": {Name: "files.read_v2-b", Parameters: json.RawMessage(anyObject)},
		"the longest name":          {Name: strings.Repeat("n", 64), Parameters: json.RawMessage(anyObject)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			made, err := New(def, answers("yes"))
			if err != nil {
				t.Fatal(err)
			}
			if got := made.Definition(); got.Name != def.Name || got.Timeout != DefaultTimeout {
				t.Errorf("definition %+v, want its name and the default timeout", got)
			}
		})
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	ok := json.RawMessage(anyObject)
	for name, c := range map[string]struct {
		def  Definition
		fn   Func
		says string
	}{
		"no name":            {Definition{Parameters: ok}, answers(""), "a name has 1 to 64"},
		"a long name":        {Definition{Name: strings.Repeat("n", 65), Parameters: ok}, answers(""), "a name has 1 to 64"},
		"a name with spaces": {Definition{Name: "a b", Parameters: ok}, answers(""), "a name has 1 to 64"},
		"a name with a line": {Definition{Name: "a\n", Parameters: ok}, answers(""), "a name has 1 to 64"},
		"no function":        {Definition{Name: "a", Parameters: ok}, nil, "no function"},
		"a negative timeout": {Definition{Name: "a", Parameters: ok, Timeout: -1}, answers(""), "timeout is negative"},
		"no schema":          {Definition{Name: "a"}, answers(""), "reading the JSON Schema"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := New(c.def, c.fn)
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("error %v, want one that says %q", err, c.says)
			}
		})
	}
}

func TestDefinitionOutlivesItsBuffer(t *testing.T) {
	t.Parallel()
	buffer := []byte(anyObject)
	made, err := New(Definition{Name: "a", Parameters: buffer}, answers(""))
	if err != nil {
		t.Fatal(err)
	}
	clear(buffer)
	if got := string(made.Definition().Parameters); got != anyObject {
		t.Errorf("parameters %q, want %q", got, anyObject)
	}
}

func TestCallHandsArgumentsOn(t *testing.T) {
	t.Parallel()
	for arguments, want := range map[string]string{
		``:                              `{}`,
		" \n":                           `{}`,
		`{}`:                            `{}`,
		` {"n": 12345678901234567890} `: `{"n": 12345678901234567890}`,
	} {
		got, err := newTool(t, 0, func(_ context.Context, arguments json.RawMessage) (string, error) {
			return string(arguments), nil
		}).Call(t.Context(), arguments)
		if err != nil || got != want {
			t.Errorf("arguments %q reach the tool as %q, %v; want %q", arguments, got, err, want)
		}
	}
}

func TestCallReportsTheToolsError(t *testing.T) {
	t.Parallel()
	cause := errors.New("no such city")
	_, err := newTool(t, 0, fails(cause)).Call(t.Context(), "")
	failure := wantError(t, err, Failed, "no such city")
	if !errors.Is(failure, cause) {
		t.Errorf("the error %v does not lead to its cause", failure)
	}
}

func TestCallBoundsTime(t *testing.T) {
	t.Parallel()
	heedsNothing := func(release <-chan struct{}) Func {
		return func(context.Context, json.RawMessage) (string, error) {
			<-release
			return "too late", nil
		}
	}
	heedsContext := func(<-chan struct{}) Func { return waits }
	for name, c := range map[string]struct {
		toolOf   func(release <-chan struct{}) Func
		deadline time.Duration
		kind     ErrorType
		message  string
	}{
		"a tool that heeds its context, by its timeout":   {heedsContext, time.Hour, Timeout, "the tool took longer than 5s"},
		"a tool that heeds its context, by the run's end": {heedsContext, time.Second, Cancelled, "the run ended before the tool did"},
		"a tool that does not, by its timeout":            {heedsNothing, time.Hour, Timeout, "the tool took longer than 5s"},
		"a tool that does not, by the run's end":          {heedsNothing, time.Second, Cancelled, "the run ended before the tool did"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				release := make(chan struct{})
				defer close(release)
				ctx, cancel := context.WithTimeout(t.Context(), c.deadline)
				defer cancel()
				begin := time.Now()
				_, err := newTool(t, 5*time.Second, c.toolOf(release)).Call(ctx, "")
				wantError(t, err, c.kind, c.message)
				if took, want := time.Since(begin), min(5*time.Second, c.deadline); took != want {
					t.Errorf("the call took %s, want %s", took, want)
				}
			})
		})
	}
}

// waits is a tool that ends when it is told to.
func waits(ctx context.Context, _ json.RawMessage) (string, error) {
	<-ctx.Done()
	return "", ctx.Err()
}

func TestToolThatNoticesTheEndFirst(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	result := newTool(t, 0, waits).answer(ctx, "", &Error{Type: Timeout})
	wantError(t, result.failure, Cancelled, "the run ended before the tool did")
}

func TestToolThatPanicsAfterItWasLeftBehind(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, err := newTool(t, time.Second, func(context.Context, json.RawMessage) (string, error) {
			<-time.After(time.Minute)
			panic("nobody listens")
		}).Call(t.Context(), "")
		wantError(t, err, Timeout, "the tool took longer than 1s")
		<-time.After(time.Minute)
	})
}

func TestDefaultTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, err := newTool(t, 0, waits).Call(t.Context(), "")
		wantError(t, err, Timeout, "the tool took longer than 30s")
	})
}

func TestCallWithinACallEndsWithTheOuterOne(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		inner := newTool(t, time.Minute, waits)
		told := make(chan error, 1)
		outer := newTool(t, time.Second, func(ctx context.Context, _ json.RawMessage) (string, error) {
			_, err := inner.Call(ctx, "")
			told <- err
			return "", err
		})
		_, err := outer.Call(t.Context(), "")
		wantError(t, err, Timeout, "the tool took longer than 1s")
		wantError(t, <-told, Cancelled, "the run ended before the tool did")
	})
}

func TestCallDoesNotBeginAfterTheRunsEnd(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := newTool(t, 0, func(context.Context, json.RawMessage) (string, error) {
		t.Error("the tool was run")
		return "", nil
	}).Call(ctx, "")
	wantError(t, err, Cancelled, "the run ended before the tool did")
	if !errors.Is(err, context.Canceled) {
		t.Errorf("the error %v does not lead to the cancellation", err)
	}
}

type explosive struct{}

func (explosive) Error() string { panic("no words") }

func TestCallSurvivesBugs(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		fn     Func
		logged string
	}{
		"a panic":                   {func(context.Context, json.RawMessage) (string, error) { panic("secret 42") }, "secret 42"},
		"a nil panic":               {func(context.Context, json.RawMessage) (string, error) { panic(nil) }, "nil"},
		"a nil pointer":             {func(context.Context, json.RawMessage) (string, error) { var d *Definition; return d.Name, nil }, "nil pointer"},
		"a goroutine that ends":     {func(context.Context, json.RawMessage) (string, error) { runtime.Goexit(); return "", nil }, "ended its goroutine"},
		"an error that cannot tell": {fails(explosive{}), "no words"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := newTool(t, 0, c.fn).Call(t.Context(), "")
			failure := wantError(t, err, Panicked, "the tool has a bug")
			if !strings.Contains(failure.Error(), c.logged) {
				t.Errorf("the log would read %q, want it to say %q", failure, c.logged)
			}
		})
	}
	_, err := newTool(t, 0, func(context.Context, json.RawMessage) (string, error) { panic(1) }).Call(t.Context(), "")
	if !strings.Contains(err.Error(), "call_test.go") {
		t.Errorf("the log would not show where the panic was: %q", err)
	}
}

func TestCallBoundsOutput(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ output, begins, ends string }{
		"empty":                     {"", "", ""},
		"just short enough":         {strings.Repeat("a", MaxOutput), "aaa", "aaa"},
		"a byte too long":           {strings.Repeat("a", MaxOutput+1), "aaa", "\n[cut here: the output has 262145 bytes, these are the first 262016]"},
		"cut between wide runes":    {"a" + strings.Repeat("世", MaxOutput), "a世世", "世\n[cut here: the output has 786433 bytes, these are the first 262015]"},
		"not UTF-8":                 {"a\xff\xfeb\xe4\xb8", "a\uFFFDb\uFFFD", "\uFFFDb\uFFFD"},
		"longer once made UTF-8":    {strings.Repeat("a\xff", MaxOutput/2), "a\uFFFDa", "these are the first 262016]"},
		"nothing but broken bytes":  {strings.Repeat("\xff", 2*MaxOutput), "\uFFFD", "these are the first 3]"},
		"a rune at the very border": {strings.Repeat("a", MaxOutput-1) + "é", "aaa", "these are the first 262016]"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := newTool(t, 0, answers(c.output)).Call(t.Context(), "")
			if err != nil {
				t.Fatal(err)
			}
			if len(got) > MaxOutput || !utf8.ValidString(got) {
				t.Errorf("%d bytes, valid UTF-8: %t; want at most %d and valid", len(got), utf8.ValidString(got), MaxOutput)
			}
			if !strings.HasPrefix(got, c.begins) || !strings.HasSuffix(got, c.ends) {
				t.Errorf("the output begins %.20q and ends %q", got, got[max(0, len(got)-80):])
			}
		})
	}
}

func TestCallBoundsMessages(t *testing.T) {
	t.Parallel()
	texts := map[string]string{
		"long":      strings.Repeat("x", 5*MaxMessage),
		"not UTF-8": strings.Repeat("x\xff", MaxMessage/2-6),
	}
	for shift := range utf8.UTFMax { // so that a cut falls onto each byte of a rune
		texts[fmt.Sprintf("wide, shifted by %d", shift)] = strings.Repeat("x", shift) + strings.Repeat("😀", MaxMessage) + strings.Repeat("x", shift)
	}
	for name, text := range texts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := newTool(t, 0, fails(errors.New("begin "+text+" end"))).Call(t.Context(), "")
			message := asError(t, err).Message
			if len(message) > MaxMessage || !utf8.ValidString(message) {
				t.Errorf("%d bytes, valid UTF-8: %t; want at most %d and valid", len(message), utf8.ValidString(message), MaxMessage)
			}
			if !strings.HasPrefix(message, "begin ") || !strings.Contains(message, " … ") || !strings.HasSuffix(message, " end") {
				t.Errorf("the message has lost an end: %q", message)
			}
			if utf8.ValidString(text) && strings.Contains(message, replacement) {
				t.Errorf("the cut has broken a rune: %q", message)
			}
		})
	}
}

func TestCallsAtOnce(t *testing.T) {
	t.Parallel()
	calculator, _ := Builtin("calculator")
	var calls sync.WaitGroup
	for range 32 {
		calls.Go(func() {
			if got, err := calculator.Call(t.Context(), `{"expression": "sin(1)^2 + cos(1)^2"}`); err != nil || got != "1" {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
	calls.Wait()
}

func answers(output string) Func {
	return func(context.Context, json.RawMessage) (string, error) { return output, nil }
}

func fails(err error) Func {
	return func(context.Context, json.RawMessage) (string, error) { return "", err }
}

func newTool(t testing.TB, timeout time.Duration, fn Func) *Tool {
	t.Helper()
	made, err := New(Definition{Name: "test", Parameters: json.RawMessage(anyObject), Timeout: timeout}, fn)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func asError(t testing.TB, err error) *Error {
	t.Helper()
	var failure *Error
	if !errors.As(err, &failure) {
		t.Fatalf("got %v, want an *Error", err)
	}
	return failure
}

func wantError(t testing.TB, err error, kind ErrorType, message string) *Error {
	t.Helper()
	failure := asError(t, err)
	if failure.Type != kind || failure.Message != message {
		t.Errorf("got %s %q, want %s %q", failure.Type, failure.Message, kind, message)
	}
	return failure
}

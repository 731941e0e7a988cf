package mcp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/runwire/runwire/agent/tool"
	"pgregory.net/rapid"
)

func pid(t *testing.T, s tool.Source) int {
	t.Helper()
	n, err := strconv.Atoi(mustCall(t, s, "fake.pid", `{"text": ""}`))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestACallThatNeverReturns(t *testing.T) {
	t.Parallel()
	s, log := startFake(t, "tools", Config{Rules: []Rule{{Pattern: "hang", Timeout: 50 * time.Millisecond}}})
	before := pid(t, s)
	_, err := named(t, s, "fake.hang").Call(t.Context(), `{"text": ""}`)
	if failed := failure(t, err); failed.Type != tool.Timeout {
		t.Errorf("got %v, want a timeout", failed)
	}
	// The server is asked whether it is still there, which it is.
	log.await(t, 0, "mcp server connected")
	if after := pid(t, s); after != before {
		t.Errorf("the server was started anew: %d, %d", before, after)
	}
}

func TestACallEndsWithItsRun(t *testing.T) {
	t.Parallel()
	s, log := startFake(t, "tools", Config{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := named(t, s, "fake.wait").Call(ctx, `{"text": ""}`)
		done <- err
	}()
	from := log.await(t, 0, "mcp server says", "waiting")
	cancel()
	if failed := failure(t, <-done); failed.Type != tool.Cancelled {
		t.Errorf("got %v, want it cancelled", failed)
	}
	log.await(t, from, "mcp server says", "the wait was cancelled")
	mustCall(t, s, "fake.echo", `{"text": ""}`)
}

func TestALargeAnswer(t *testing.T) {
	t.Parallel()
	s, _ := startFake(t, "tools", Config{})
	large := mustCall(t, s, "fake.large", `{"text": ""}`)
	if len(large) > tool.MaxOutput || !strings.Contains(large, "[cut here: the output has 1310720 bytes") {
		t.Errorf("it became %d bytes, which end with %q", len(large), large[len(large)-80:])
	}
}

func TestAnEndlessAnswer(t *testing.T) {
	t.Parallel()
	s, _ := startFake(t, "odd", Config{})
	before := mustCall(t, s, "fake.fine", `{"text": "pid"}`)
	_, err := named(t, s, "fake.fine").Call(t.Context(), `{"text": "huge"}`)
	if failed := failure(t, err); failed.Type != tool.Failed || !strings.Contains(failed.Message, "longer than 16 MiB") {
		t.Errorf("got %v", failed)
	}
	if after := mustCall(t, s, "fake.fine", `{"text": "pid"}`); after != before {
		t.Errorf("the server was started anew: %s, %s", before, after)
	}
}

func TestAServerThatDiesInACall(t *testing.T) {
	t.Parallel()
	s, log := startFake(t, "tools", Config{})
	before := pid(t, s)
	_, err := named(t, s, "fake.die").Call(t.Context(), `{"text": ""}`)
	if failed := failure(t, err); failed.Type != tool.Failed || !strings.Contains(failed.Message, "gave no usable answer; whether the call was carried out is not known") {
		t.Errorf("got %v", failed)
	}
	from := log.await(t, 0, "mcp server lost")
	log.await(t, from, "mcp server connected")
	if after := pid(t, s); after == before {
		t.Error("it is the same process")
	}
}

func TestACallWaitsForAServerThatWasKilled(t *testing.T) {
	t.Parallel()
	s, _ := startFake(t, "tools", Config{})
	echo, before := named(t, s, "fake.echo"), pid(t, s)
	server, err := os.FindProcess(before)
	if err != nil {
		t.Fatal(err)
	}
	s.line.mu.Lock() // no call finds a session while it is lost
	x := s.line.session
	if err := server.Kill(); err != nil {
		t.Error(err)
	}
	<-x.wire.(*process).exited
	s.line.session = nil
	s.line.mu.Unlock()
	if output, err := echo.Call(t.Context(), `{"text": "back"}`); err != nil || output != "back" {
		t.Errorf("got %q, %v", output, err)
	}
}

func TestGarbageAmongMessages(t *testing.T) {
	t.Parallel()
	for _, role := range []string{"chatty", "tools"} {
		s, _ := startFake(t, role, Config{})
		before := pid(t, s)
		if got := mustCall(t, s, "fake.garbage", `{"text": ""}`); got != "after all that" {
			t.Errorf("%s: %q", role, got)
		}
		if after := pid(t, s); after != before {
			t.Errorf("%s: the server was started anew", role)
		}
	}
}

func TestServersThatNeverConnect(t *testing.T) {
	t.Parallel()
	for role, c := range map[string]struct {
		within time.Duration
		says   string
	}{
		"deaf":         {200 * time.Millisecond, "deadline exceeded"},
		"dies at once": {0, "EOF"},
	} {
		t.Run(role, func(t *testing.T) {
			t.Parallel()
			s, log := startFake(t, role, Config{ConnectTimeout: c.within})
			log.await(t, 0, "mcp server is down", c.says)
			if tools := s.Tools(); len(tools) > 0 {
				t.Errorf("there are tools: %q", names(tools))
			}
		})
	}
	t.Run("not there", func(t *testing.T) {
		t.Parallel()
		_, log := start(t, Config{Command: []string{"/no/such/program"}})
		log.await(t, 0, "mcp server is down", "starting the program")
	})
}

func TestAServerThatDiesOfANewProtocol(t *testing.T) {
	t.Parallel()
	s, _ := startFake(t, "dies of discovery", Config{})
	if len(s.Tools()) == 0 {
		t.Error("it is not spoken to in the elder protocol")
	}
}

func TestAServerThatDoesNotExit(t *testing.T) {
	t.Parallel()
	s, _ := startFake(t, "stubborn", Config{})
	if len(s.Tools()) == 0 {
		t.Error("there are no tools")
	}
} // the cleanup of which sees it end

func TestAServerThatTakesNoInput(t *testing.T) {
	t.Parallel()
	s, log := startFake(t, "full", Config{Timeout: 100 * time.Millisecond})
	arguments, err := json.Marshal(said{Text: strings.Repeat("x", 900_000)})
	if err != nil {
		t.Fatal(err)
	}
	fine := named(t, s, "fake.fine")
	var calls sync.WaitGroup
	for range 3 {
		calls.Go(func() {
			if _, err := fine.Call(t.Context(), string(arguments)); failure(t, err).Type == tool.InvalidArguments {
				t.Errorf("got %v, want it to fail", err)
			}
		})
	}
	calls.Wait()
	log.await(t, 0, "mcp server lost") // for half a message was written
}

func TestCallsWithoutAServer(t *testing.T) {
	t.Parallel()
	s, _ := startFake(t, "tools", Config{})
	echo := named(t, s, "fake.echo")
	s.drop()
	_, err := echo.Call(t.Context(), `{"text": ""}`)
	if failed := failure(t, err); failed.Type != tool.Failed || !strings.Contains(failed.Message, "is not connected; the call was not made") {
		t.Errorf("got %v", failed)
	}
}

func TestPauses(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		failures := rapid.IntRange(1, 1_000_000).Draw(t, "failures")
		if pause := pauseAfter(failures); pause < leastPause/2 || pause > mostPause {
			t.Errorf("after %d failures: %s", failures, pause)
		}
		if failures > 10 && pauseAfter(failures) < mostPause/2 {
			t.Errorf("after %d failures it is still in a hurry", failures)
		}
	})
}

// Of any object, whatever pieces it comes in, the id is found as a parser finds it.
func TestSkimmer(t *testing.T) {
	t.Parallel()
	value := rapid.Custom(func(t *rapid.T) any {
		return rapid.OneOf(
			rapid.Map(rapid.String(), func(s string) any { return s }),
			rapid.Map(rapid.Int64Range(-1<<50, 1<<50), func(n int64) any { return n }),
			rapid.Map(rapid.MapOf(rapid.SampledFrom([]string{"id", "method", `"`, `a\`, "{"}), rapid.String()), func(m map[string]string) any { return m }),
			rapid.Map(rapid.SliceOf(rapid.SampledFrom([]string{`{"id":7}`, "]", `\"`})), func(l []string) any { return l }),
			rapid.Just[any](nil), rapid.Just[any](true),
		).Draw(t, "value")
	})
	rapid.Check(t, func(t *rapid.T) {
		object := map[string]any{
			"a": value.Draw(t, "a"), "result": value.Draw(t, "result"), "zzz": value.Draw(t, "zzz"),
			"id": rapid.Int64Range(-1<<50, 1<<50).Draw(t, "id"),
		}
		call := rapid.Bool().Draw(t, "call")
		if call {
			object["method"] = "ping"
		}
		data, err := json.Marshal(object)
		if err != nil {
			t.Fatal(err)
		}
		if rapid.Bool().Draw(t, "spaced") {
			var spaced bytes.Buffer
			if err := json.Indent(&spaced, data, "", "  "); err != nil {
				t.Fatal(err)
			}
			data = spaced.Bytes()
		}
		var s skimmer
		for rest := data; len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "piece")
			s.read(rest[:n])
			rest = rest[n:]
		}
		id, ok := s.answers()
		want, _ := jsonrpc.MakeID(float64(object["id"].(int64)))
		if ok == call || ok && id != want {
			t.Errorf("%s: %v, %t; want %v", data, id, ok, want)
		}
	})
}

// A tool is found when its server is there, and otherwise the model is told why not.
func TestFind(t *testing.T) {
	t.Parallel()
	s, log := startFake(t, "tools", Config{})
	tools := Select([]string{"fake.*"}, s)
	if found, err := tools.Find(t.Context(), "fake.echo"); err != nil || found == nil || found.Definition().Name != "fake.echo" {
		t.Errorf("found %v, %v", found, err)
	}
	for _, name := range []string{"fake.nothing", "other.echo", "echo"} {
		if found, err := tools.Find(t.Context(), name); err != nil || found != nil {
			t.Errorf("%s: found %v, %v", name, found, err)
		}
	}
	t.Log(log)
	down, err := New(Config{Name: "down", Command: []string{"/no/such/program"}})
	if err != nil {
		t.Fatal(err)
	}
	down.drop()
	const want = `the server "down" is not connected; the call was not made`
	if found, err := Select([]string{"*"}, s, down).Find(t.Context(), "down.echo"); found != nil || err == nil || err.Error() != want {
		t.Errorf("found %v, %v", found, err)
	}
	yetToCome, err := New(Config{Name: "late", Command: []string{"/no/such/program"}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if found, err := yetToCome.Find(ctx, "late.echo"); found != nil || !errors.Is(err, context.Canceled) {
		t.Errorf("found %v, %v", found, err)
	}
}

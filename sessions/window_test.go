package sessions_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/runwire/runwire/agent/model"
	"github.com/runwire/runwire/sessions"
	"github.com/runwire/runwire/store"
)

// talk is a session whose turns say their numbers.
type talk struct {
	t      *testing.T
	db     *store.DB
	keeper *sessions.Keeper
	turns  int
}

func newTalk(t *testing.T) *talk {
	t.Helper()
	db, keeper := open(t)
	return &talk{t: t, db: db, keeper: keeper}
}

// turn is one run: what it is told before it adds a turn of about so many
// tokens. Where a summary is due, sum makes it of how many tokens; 0 makes none.
func (c *talk) turn(window sessions.Window, tokens, sum int) *sessions.Session {
	c.t.Helper()
	session := c.open(window)
	if older := session.Older; older != nil && len(older.Messages) > 0 && sum > 0 {
		err := session.SaveSummary(c.t.Context(), model.Summary{
			Text: fmt.Sprintf("sum of %d", older.Through), Messages: older.Through, Tokens: int64(sum), Model: "test/s",
		})
		if err != nil {
			c.t.Fatal(err)
		}
		session.History = session.History[older.Dropped:]
		older.Summary = fmt.Sprintf("sum of %d", older.Through)
	}
	c.turns++
	text := fmt.Sprintf("%d%s", c.turns, strings.Repeat(" word", tokens/2-6))
	turn, err := session.Turn(fmt.Sprintf("r%d", c.turns), []model.Message{
		{Role: model.RoleUser, Text: text}, {Role: model.RoleAssistant, Text: text},
	})
	if err != nil {
		c.t.Fatal(err)
	}
	if err := errors.Join(c.db.AppendTurn(c.t.Context(), *turn), session.Close(c.t.Context())); err != nil {
		c.t.Fatal(err)
	}
	return session
}

func (c *talk) open(window sessions.Window) *sessions.Session {
	c.t.Helper()
	session, err := c.keeper.Open(c.t.Context(), key(fmt.Sprintf("r%d", c.turns+1)), window)
	if err != nil {
		c.t.Fatal(err)
	}
	return session
}

// numbers are those of the messages' turns.
func numbers(messages []model.Message) []string {
	var all []string
	for _, m := range messages {
		number, _, _ := strings.Cut(m.Text, " ")
		all = append(all, number)
	}
	return all
}

func from(first, last int) []string {
	var all []string
	for i := first; i <= last; i++ {
		all = append(all, fmt.Sprint(i), fmt.Sprint(i))
	}
	return all
}

func tokens(messages []model.Message) (sum int64) {
	for _, m := range messages {
		sum += model.EstimateTokens(m)
	}
	return sum
}

var window = sessions.Window{Tokens: 1000, Summarized: true}

// In a long conversation a summary is made once in a while, of each message
// once; what is told has its place in the window and grows at its end alone.
func TestASessionIsSummedUpOnceInAWhile(t *testing.T) {
	t.Parallel()
	const turns, tokensATurn, sum = 100, 60, 200
	c := newTalk(t)
	var summed, told []string
	made := 0
	for range turns {
		session := c.turn(window, tokensATurn, sum)
		older := session.Older
		history := numbers(session.History)
		size := tokens(session.History)
		if older != nil {
			size += sum
		}
		if size > window.Tokens {
			t.Fatalf("turn %d is told %d tokens", c.turns, size)
		}
		if older != nil && len(older.Messages) > 0 {
			made++
			summed = append(summed, numbers(older.Messages)...)
			if size > window.Tokens/2 {
				t.Errorf("at turn %d it is emptied to %d tokens", c.turns, size)
			}
			if older.MaxTokens != 250 || older.MaxInput != 1000 {
				t.Errorf("a summary may have %d tokens of %d", older.MaxTokens, older.MaxInput)
			}
		} else if len(told) > len(history) || !slices.Equal(told, history[:len(told)]) {
			t.Errorf("turn %d is told %v after %v", c.turns, history, told)
		}
		told = history
		// All that was said is told, in words or in sum.
		if diff := cmp.Diff(from(1, c.turns-1), append(append([]string(nil), summed...), history...)); diff != "" {
			t.Fatalf("turn %d: %s", c.turns, diff)
		}
		if older != nil && older.Summary != fmt.Sprintf("sum of %d", len(summed)) {
			t.Errorf("turn %d is told %q", c.turns, older.Summary)
		}
	}
	if made < 8 || made > 14 { // 100 turns of 60 tokens, half a window of 1000 each
		t.Errorf("%d summaries were made", made)
	}
}

// While none is made, the last one stands and the newest turns are told, as
// they are without summaries; then the next one goes on where it stopped.
func TestTheNewestTurnsAreToldWithoutASummary(t *testing.T) {
	t.Parallel()
	c := newTalk(t)
	for range 40 {
		c.turn(window, 100, 0)
	}
	session := c.turn(window, 100, 0)
	if got := numbers(session.History); got[len(got)-1] != "40" || tokens(session.History) > 1000 || tokens(session.History) < 850 {
		t.Errorf("told %v", got)
	}
	if session.Older.Summary != "" || session.Older.Messages[0].Text[:2] != "1 " {
		t.Errorf("before it %+v", session.Older)
	}
	// A session that is longer than a summary takes is caught up with.
	covered := int64(0)
	for rounds := 1; ; rounds++ {
		session := c.turn(window, 100, 200)
		older := session.Older
		if len(older.Messages) == 0 {
			if rounds < 3 {
				t.Errorf("a summary has taken it all in %d rounds", rounds)
			}
			break
		}
		if size := tokens(older.Messages); size > 2100 || covered+int64(len(older.Messages)) != older.Through {
			t.Errorf("a summary is made of %d tokens, through %d after %d", size, older.Through, covered)
		}
		covered = older.Through
		if size := tokens(session.History); size > 750 {
			t.Errorf("beside the summary %d tokens are told", size)
		}
		if got := numbers(session.History); len(got)%2 != 0 || got[len(got)-1] != fmt.Sprint(c.turns-1) {
			t.Errorf("told %v", got)
		}
	}
}

func TestATurnAsLargeAsTheWindow(t *testing.T) {
	t.Parallel()
	for size, stays := range map[int]bool{200: true, 600: true, 700: true, 800: false, 2000: false} {
		c := newTalk(t)
		c.turn(window, 500, 200)
		c.turn(window, 500, 200)
		c.turn(window, size, 200)
		session := c.turn(window, 10+2, 200)
		want := []string(nil)
		if stays {
			want = from(3, 3)
		}
		if diff := cmp.Diff(want, numbers(session.History)); diff != "" {
			t.Errorf("after a turn of %d: %s", size, diff)
		}
	}
}

// An agent whose window is too small for the summary of another goes without;
// one that wants none is told the newest turns.
func TestAgentsOfOneSession(t *testing.T) {
	t.Parallel()
	c := newTalk(t)
	for range 30 {
		c.turn(window, 100, 240)
	}
	for _, other := range []sessions.Window{{Tokens: 400, Summarized: true}, {Tokens: 400}} {
		session := c.turn(other, 20, 0)
		if session.Older != nil || len(session.History) == 0 || tokens(session.History) > 400 {
			t.Errorf("%v is told %v and %v", other, session.Older, numbers(session.History))
		}
	}
	session := c.turn(window, 100, 240)
	if session.Older == nil || session.Older.Summary == "" {
		t.Errorf("told %v", session.Older)
	}
	if err := c.db.DeleteSession(t.Context(), "acme", "chat"); err != nil {
		t.Fatal(err)
	}
	if session := c.open(window); session.Older != nil || session.History != nil {
		t.Errorf("after it was deleted: %v, %v", session.Older, session.History)
	}
}

func TestASummaryIsOnlyKeptByWhoHasTheSession(t *testing.T) {
	t.Parallel()
	c := newTalk(t)
	c.turn(window, 100, 0)
	session := c.open(window)
	if err := c.db.DeleteSession(t.Context(), "acme", "chat"); err != nil {
		t.Fatal(err)
	}
	if err := session.SaveSummary(t.Context(), model.Summary{Text: "sum", Messages: 1}); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("got %v", err)
	}
	if err := session.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

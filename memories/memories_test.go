package memories

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/runwire/runwire/agent/model"
	"github.com/runwire/runwire/store"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const tenant = "acme"

// thesaurus is an embedder that knows which words mean the same. Its vectors
// have a number for each meaning.
type thesaurus struct {
	name string

	mu     sync.Mutex
	calls  [][]string
	fails  error         // what a call ends in; nil for an answer
	delay  time.Duration // before it does
	refuse string        // a word that no text may have
}

var meanings = [][]string{{"tea", "drink", "thirsty"}, {"cat", "pet", "animal"}, {"nuts", "allergic", "food"}}

func (e *thesaurus) Name() string { return e.name }

func (e *thesaurus) Embed(ctx context.Context, texts []string) ([][]float32, model.Usage, error) {
	e.mu.Lock()
	e.calls = append(e.calls, texts)
	fails, delay, refuse := e.fails, e.delay, e.refuse
	e.mu.Unlock()
	used := model.Usage{InputTokens: int64(10 * len(texts))}
	select {
	case <-ctx.Done():
		return nil, used, ctx.Err()
	case <-time.After(delay):
	}
	if fails != nil {
		return nil, model.Usage{}, fails
	}
	vectors := make([][]float32, len(texts))
	for i, text := range texts {
		if refuse != "" && strings.Contains(text, refuse) {
			return nil, model.Usage{}, &model.Error{Kind: model.KindRejected, Err: model.ErrText}
		}
		vectors[i] = vectorOf(text)
	}
	return vectors, used, nil
}

// vectorOf is a text's; the last number is all that it does not know.
func vectorOf(text string) []float32 {
	vector := make([]float32, len(meanings)+1)
	for i, words := range meanings {
		for _, word := range words {
			if strings.Contains(text, word) {
				vector[i] = 1
			}
		}
	}
	var sum float64
	for _, x := range vector {
		sum += float64(x)
	}
	if sum == 0 {
		vector[len(meanings)], sum = 1, 1
	}
	for i := range vector {
		vector[i] /= float32(math.Sqrt(sum))
	}
	return vector
}

func (e *thesaurus) change(change func(*thesaurus)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	change(e)
}

// asked is how often it was, and about how many texts.
func (e *thesaurus) asked() (calls, texts int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, call := range e.calls {
		texts += len(call)
	}
	return len(e.calls), texts
}

// world is a keeper on a file, which runs until the test ends or stop is called.
type world struct {
	*Keeper

	db   *store.DB
	log  *bytes.Buffer // of this keeper, which writes one line at a time
	stop func()
}

func openFile(t *testing.T) *store.DB {
	t.Helper()
	db, err := store.OpenSQLite(t.Context(), filepath.Join(t.TempDir(), "runwire.db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func start(t *testing.T, db *store.DB, embedder Embedder) *world {
	t.Helper()
	w := &world{db: db, log: &bytes.Buffer{}}
	price := model.Price{Input: model.Dollar / 50}
	var err error
	w.Keeper, err = New(Config{
		Store: db, Embedder: embedder, Floor: 0.3, Price: &price, Log: slog.New(slog.NewTextHandler(w.log, nil)),
		Account: func(ctx context.Context, rows []store.UsageRow) {
			if err := db.AppendUsage(ctx, rows); err != nil {
				t.Error(err)
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- w.Run(ctx) }()
	w.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(w.stop)
	return w
}

func (w *world) save(t *testing.T, user string, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if _, err := w.SaveMemory(t.Context(), store.Memory{Tenant: tenant, ID: user + text, UserID: user, Text: text}, 0); err != nil {
			t.Fatal(err)
		}
	}
}

func (w *world) finds(t *testing.T, user, query string, want ...string) {
	t.Helper()
	found, err := w.SearchMemories(t.Context(), tenant, user, query, 10)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, memory := range found {
		got = append(got, memory.Text)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s's %q finds %q, want %q", user, query, got, want)
	}
}

func (w *world) used(t *testing.T, by ...store.UsageKey) []store.UsageSum {
	t.Helper()
	sums, err := w.db.SumUsage(t.Context(), store.UsageFilter{Tenant: tenant}, by...)
	if err != nil {
		t.Fatal(err)
	}
	return sums
}

// settle lets what goes on come to its end, as far as it needs no time.
func settle() { synctest.Wait() }

// pass lets time pass, and what that begins come to its end.
func pass(d time.Duration) {
	<-time.After(d)
	settle()
}

func TestWhatIsSavedIsFoundByItsMeaning(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := &thesaurus{name: "local/small"}
		w := start(t, openFile(t), e)
		w.save(t, "ann", "Ann likes tea.", "Ann has a cat.")
		w.save(t, "bob", "Bob likes tea.")
		settle()
		w.finds(t, "ann", "What does she drink?", "Ann likes tea.")
		w.finds(t, "ann", "Her pet, when thirsty", "Ann likes tea.", "Ann has a cat.")
		w.finds(t, "ann", "the weather")
		w.finds(t, "bob", "drink", "Bob likes tea.")
		w.finds(t, "ann", "  ")
		calls, _ := e.asked()
		w.finds(t, "eve", "drink") // has nothing, and asks nobody
		if now, _ := e.asked(); now != calls {
			t.Error("the embedder was asked for somebody without memories")
		}
	})
}

func TestWithoutAnEmbedderWordsFind(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := start(t, openFile(t), nil)
		w.save(t, "ann", "Ann likes tea.")
		w.finds(t, "ann", "tea", "Ann likes tea.")
		w.finds(t, "ann", "drink")
	})
}

// An embedder that is away holds up neither a save nor a search, and what was
// saved meanwhile is found by its meaning once it is back.
func TestAnEmbedderThatIsAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := &thesaurus{name: "local/small"}
		w := start(t, openFile(t), e)
		w.save(t, "ann", "Ann likes tea.")
		settle()
		e.change(func(e *thesaurus) { e.fails = &model.Error{Kind: model.KindUnavailable, Err: errors.New("down")} })
		begin := time.Now()
		w.save(t, "ann", "Ann has a cat.")
		w.finds(t, "ann", "drink")
		w.finds(t, "ann", "likes", "Ann likes tea.")
		if took := time.Since(begin); took > 0 {
			t.Errorf("it took %v", took)
		}
		pass(time.Hour)
		if calls, _ := e.asked(); calls > 30 {
			t.Errorf("it was asked %d times in an hour that it was away", calls)
		}
		e.change(func(e *thesaurus) { e.fails = nil })
		pass(2 * mostAway)
		w.finds(t, "ann", "drink with a pet", "Ann has a cat.", "Ann likes tea.")
		for _, line := range []string{
			"memories wait for their vectors", "memories are given vectors again",
			"memories are searched by words alone", "memories are searched by meaning again",
		} {
			if got := strings.Count(w.log.String(), line); got != 1 {
				t.Errorf("the log says %q %d times", line, got)
			}
		}
	})
}

func TestASearchDoesNotWaitForASlowEmbedder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := &thesaurus{name: "local/small"}
		w := start(t, openFile(t), e)
		w.save(t, "ann", "Ann likes tea.")
		settle()
		e.change(func(e *thesaurus) { e.delay = time.Minute })
		for _, want := range []time.Duration{queryTimeout, 0} { // then it is left alone
			begin := time.Now()
			w.finds(t, "ann", "thirsty, tea", "Ann likes tea.")
			if took := time.Since(begin); took != want {
				t.Errorf("a search took %v, want %v", took, want)
			}
		}
		if sum := w.used(t)[0]; sum.Calls != 2 || sum.InputTokens != 20 { // the one that was left, too
			t.Errorf("used %+v", sum)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		pass(leastAway)
		if _, err := w.SearchMemories(ctx, tenant, "ann", "tea", 1); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a search that its caller has left: %v", err)
		}
	})
}

func TestEveryTokenIsAccountedFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := &thesaurus{name: "local/small", delay: time.Second}
		db := openFile(t)
		w := start(t, db, nil) // nobody gives them vectors yet
		w.save(t, "ann", "tea", "cat", "nuts")
		w.save(t, "bob", strings.Repeat("long ", 60))
		w = start(t, db, e)
		pass(2 * time.Second)
		w.finds(t, "ann", "thirsty", "tea")
		var got []string
		for _, sum := range w.used(t, store.UsageByUser, store.UsageByAgent, store.UsageByModel) {
			got = append(got, fmt.Sprintf("%s %s %s: %d calls, %d estimated, %d tokens, %d nanos",
				sum.UserID, sum.Agent, sum.Model, sum.Calls, sum.Estimated, sum.InputTokens, sum.CostNano))
		}
		want := []string{
			"ann memory local/small: 2 calls, 1 estimated, 11 tokens, 220 nanos",
			"bob memory local/small: 1 calls, 1 estimated, 39 tokens, 780 nanos",
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

// Of a batch that is refused, all but the text that is to blame get a vector.
func TestATextThatIsRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := &thesaurus{name: "local/small", refuse: "poison"}
		db := openFile(t)
		w := start(t, db, nil)
		for i := range 50 {
			w.save(t, "ann", fmt.Sprint("tea ", i))
		}
		w.save(t, "ann", "poison")
		w = start(t, db, e)
		pass(refusedFor / 2)
		calls, _ := e.asked()
		left, err := db.ClaimMemories(t.Context(), e.name, 100, 0)
		if err != nil || len(left) != 0 || calls > 20 {
			t.Errorf("%d are left, %v, after %d calls", len(left), err, calls)
		}
		w.finds(t, "ann", "poison", "poison")
		e.change(func(e *thesaurus) { e.refuse = "" })
		pass(refusedFor)
		w.finds(t, "ann", "poison is a food?", "poison")
		if got := strings.Count(w.log.String(), "memory is found by its words alone"); got != 1 {
			t.Errorf("the log says so %d times: %s", got, w.log)
		}
	})
}

// Several on one store share the work, and one that dies leaves it to others.
func TestSeveralShareTheWork(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := &thesaurus{name: "local/small", delay: time.Second}
		db := openFile(t)
		w := start(t, db, nil)
		const count = 500
		for i := range count {
			w.save(t, "ann", fmt.Sprint("tea ", i))
		}
		dead, err := db.ClaimMemories(t.Context(), e.name, batch, lease) // and then its process dies
		if err != nil || len(dead) != batch {
			t.Fatalf("%d are claimed, %v", len(dead), err)
		}
		for range 3 {
			start(t, db, e)
		}
		pass(2 * lease)
		calls, texts := e.asked()
		left, err := db.ClaimMemories(t.Context(), e.name, count, lease)
		if err != nil || len(left) > 0 || texts != count || calls > count/batch+2 {
			t.Errorf("%d calls about %d texts have left %d, %v", calls, texts, len(left), err)
		}
	})
}

// What a process had begun when it was stopped, the next one does.
func TestARestartGoesOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := &thesaurus{name: "local/small", delay: time.Minute}
		db := openFile(t)
		w := start(t, db, e)
		w.save(t, "ann", "Ann likes tea.")
		pass(time.Second)
		w.stop()
		e.change(func(e *thesaurus) { e.delay = 0 })
		w = start(t, db, e)
		settle()
		w.finds(t, "ann", "drink", "Ann likes tea.")
	})
}

// Another model embeds everything anew; while processes of both run, they do
// not undo each other's work.
func TestAnotherModel(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		old, next := &thesaurus{name: "local/small"}, &thesaurus{name: "local/large"}
		db := openFile(t)
		w := start(t, db, old)
		w.save(t, "ann", "Ann likes tea.")
		settle()
		other := start(t, db, next)
		pass(time.Hour)
		if calls, _ := next.asked(); calls > 0 {
			t.Errorf("both models were asked: %s", other.log)
		}
		other.finds(t, "ann", "drink")
		w.finds(t, "ann", "drink", "Ann likes tea.")
		w.stop()
		pass(2 * leading)
		other.finds(t, "ann", "drink", "Ann likes tea.")
		if _, texts := next.asked(); texts != 2 { // the memory and the search
			t.Errorf("%d texts", texts)
		}
	})
}

func TestALongTextIsCut(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("é", queryCharacters)
	for text, want := range map[string]string{"": "", " \n": "", " tea ": "tea", long: long, long + "é": long} {
		if got := beginning(text); got != want {
			t.Errorf("of %d bytes %d are asked about, want %d", len(text), len(got), len(want))
		}
	}
}

package webhooks

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/runwire/runwire/store"
	standard "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// secret is a webhook secret that differs by its letter.
func secret(letter string) string {
	return secretPrefix + base64.StdEncoding.EncodeToString([]byte(strings.Repeat(letter, 32)))
}

// clock is the time now, and as much more as tests say.
type clock struct {
	mu    sync.Mutex
	ahead time.Duration
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.ahead)
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead += d
}

// recorded tells of each outcome that the store has taken.
type recorded struct {
	store.Deliveries

	outcomes chan store.Outcome
}

func (r *recorded) RecordDelivery(ctx context.Context, delivery store.Delivery, outcome store.Outcome) error {
	err := r.Deliveries.RecordDelivery(ctx, delivery, outcome)
	if err == nil {
		r.outcomes <- outcome
	}
	return err
}

// fixture is a sender on a real store. Receivers are on this machine, so it
// allows private addresses unless a test forbids them.
type fixture struct {
	db     *store.DB
	kept   *recorded
	sender *Sender
	clock  *clock
	log    *bytes.Buffer
	count  int
}

func newFixture(t *testing.T, change func(*Config)) *fixture {
	t.Helper()
	f := &fixture{clock: &clock{}, log: &bytes.Buffer{}}
	db, err := store.OpenSQLite(t.Context(), filepath.Join(t.TempDir(), "store.db"), store.Options{Clock: f.clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	f.db, f.kept = db, &recorded{db, make(chan store.Outcome, 2000)}
	cfg := Config{
		Store: f.kept, Secrets: Secrets{All: []string{secret("a")}}, AllowPrivate: true,
		Log: slog.New(slog.NewTextHandler(f.log, nil)), Now: f.clock.Now,
	}
	if change != nil {
		change(&cfg)
	}
	if f.sender, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	return f
}

// run has the sender run until the returned function is called, or the test ends.
func (f *fixture) run(t *testing.T) func() {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- f.sender.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// add has a task end whose webhook is that URL, and returns the task's id.
func (f *fixture) add(t *testing.T, url string) string {
	t.Helper()
	f.count++
	id := fmt.Sprintf("task-%d", f.count)
	spec := store.TaskSpec{Tenant: "acme", ID: id, UserID: "alice", SessionID: id, Agent: "default", Priority: 2, Request: []byte("{}")}
	if _, _, err := f.db.SubmitTask(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	if _, err := f.db.CancelTask(t.Context(), "acme", id, func(store.Task) store.Ending {
		return store.Ending{Delivery: &store.NewDelivery{ID: "msg_" + id, URL: url, Payload: []byte(`{"type":"task.cancelled"}`)}}
	}); err != nil {
		t.Fatal(err)
	}
	f.sender.Wake()
	return id
}

func (f *fixture) delivery(t *testing.T, task string) store.Delivery {
	t.Helper()
	listed, err := f.db.ListDeliveries(t.Context(), "acme", task)
	if err != nil || len(listed) != 1 {
		t.Fatalf("%s: %v, %v", task, listed, err)
	}
	return listed[0]
}

// later has the time of the task's next try come.
func (f *fixture) later(t *testing.T, task string) {
	t.Helper()
	f.clock.pass(f.delivery(t, task).NextTime.Sub(f.clock.Now()))
	f.sender.Wake()
}

// receiver answers with what a test says, after it has verified each delivery.
func receiver(t *testing.T, answer http.HandlerFunc, secrets ...string) *httptest.Server {
	t.Helper()
	if len(secrets) == 0 {
		secrets = []string{secret("a")}
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("got %s %s, %v", r.Method, r.Header, err)
		}
		for _, secret := range secrets {
			webhook, err := standard.NewWebhook(secret)
			if err != nil {
				t.Error(err)
				return
			}
			if err := webhook.VerifyIgnoringTimestamp(body, r.Header); err != nil {
				t.Errorf("the delivery is not signed with %s: %v", secret, err)
			}
		}
		answer(w, r)
	}))
	t.Cleanup(server.Close)
	return server
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

func (f *fixture) wantOutcome(t *testing.T, want store.DeliveryStatus, code int, says string) store.Outcome {
	t.Helper()
	got := <-f.kept.outcomes
	if got.Status != want || got.Code != code || !strings.Contains(got.Error, says) || (says == "") != (got.Error == "") {
		t.Errorf("got %+v, want status %v, code %d, %q", got, want, code, says)
	}
	return got
}

func TestADeliveryIsSignedAndDelivered(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	var id, body string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		data, _ := io.ReadAll(r.Body)
		webhook, err := standard.NewWebhook(secret("a"))
		if err == nil {
			err = webhook.Verify(data, r.Header)
		}
		if err != nil {
			t.Error(err)
		}
		id, body = r.Header.Get(standard.HeaderWebhookID), string(data)
		w.WriteHeader(http.StatusNoContent)
	}))
	defer server.Close()
	f.run(t)
	task := f.add(t, server.URL+"/hook?a=b")
	f.wantOutcome(t, store.DeliveryDelivered, 204, "")
	if id != "msg_"+task || body != `{"type":"task.cancelled"}` {
		t.Errorf("received %s, %s", id, body)
	}
	got := f.delivery(t, task)
	if got.Status != store.DeliveryDelivered || got.Attempt != 1 || got.LastCode != 204 || !got.NextTime.IsZero() {
		t.Errorf("got %+v", got)
	}
}

func TestAllSecretsOfATenantSign(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(cfg *Config) {
		cfg.Secrets = Secrets{All: []string{secret("x")}, ByTenant: map[string][]string{"acme": {secret("b"), secret("c")}}}
	})
	f.run(t)
	f.add(t, receiver(t, status(200), secret("b"), secret("c")).URL)
	f.wantOutcome(t, store.DeliveryDelivered, 200, "")
}

func TestWrongSecretsAreRefused(t *testing.T) {
	t.Parallel()
	for _, wrong := range []string{"", "whsec_", "whsec_!!!!", "whsec_c2hvcnQ=", strings.TrimPrefix(secret("a"), secretPrefix), secret("a") + secret("a")} {
		for _, secrets := range []Secrets{{All: []string{secret("a"), wrong}}, {ByTenant: map[string][]string{"acme": {wrong}}}} {
			_, err := New(Config{Secrets: secrets})
			if err == nil || len(wrong) > 10 && strings.Contains(err.Error(), wrong) {
				t.Errorf("%q: %v", wrong, err)
			}
		}
	}
}

func TestWithoutASecretNothingIsSent(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(cfg *Config) { cfg.Secrets = Secrets{ByTenant: map[string][]string{"rival": {secret("r")}}} })
	f.run(t)
	f.add(t, receiver(t, func(http.ResponseWriter, *http.Request) { t.Error("something was sent") }).URL)
	f.wantOutcome(t, store.DeliveryPending, 0, "no secret")
	if err := f.sender.Check("acme", "https://example.com"); err == nil {
		t.Error("a URL is right that nothing can be sent to")
	}
	if err := f.sender.Check("rival", "https://example.com"); err != nil {
		t.Errorf("a tenant with a secret is refused: %v", err)
	}
}

func TestAFlakyReceiverGetsItInTheEnd(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	answers := []int{500, 429, 404, 200}
	var mu sync.Mutex
	var ids, stamps []string
	server := receiver(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if code := answers[len(ids)]; code == 429 {
			w.Header().Set("Retry-After", "90")
		}
		w.WriteHeader(answers[len(ids)])
		ids, stamps = append(ids, r.Header.Get(standard.HeaderWebhookID)), append(stamps, r.Header.Get(standard.HeaderWebhookTimestamp))
	})
	f.run(t)
	task := f.add(t, server.URL)
	for i, code := range answers[:3] {
		got := f.wantOutcome(t, store.DeliveryPending, code, fmt.Sprint("answered ", code))
		if code == 429 && got.RetryAfter != 90*time.Second || got.RetryAfter < 4*time.Second {
			t.Errorf("try %d: again in %v", i, got.RetryAfter)
		}
		f.later(t, task)
	}
	f.wantOutcome(t, store.DeliveryDelivered, 200, "")
	if ids[0] != ids[3] || stamps[0] == stamps[3] {
		t.Errorf("ids are %v, times %v", ids, stamps)
	}
	if said := f.log.String(); strings.Count(said, "did not come through") != 3 || strings.Contains(said, "WARN") {
		t.Errorf("the log says %s", said)
	}
}

func TestGoneEndsIt(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	f.run(t)
	task := f.add(t, receiver(t, status(http.StatusGone)).URL)
	f.wantOutcome(t, store.DeliveryFailed, 410, "answered 410")
	if got := f.delivery(t, task); got.Status != store.DeliveryFailed || !got.NextTime.IsZero() {
		t.Errorf("got %+v", got)
	}
}

func TestItIsGivenUpAfterADay(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	f.run(t)
	task := f.add(t, receiver(t, status(503)).URL)
	for tries := 1; ; tries++ {
		got := <-f.kept.outcomes
		if got.Status == store.DeliveryFailed {
			if tries < 12 {
				t.Errorf("given up after %d tries", tries)
			}
			break
		}
		f.later(t, task)
	}
	kept := f.delivery(t, task)
	if age := f.clock.Now().Sub(kept.CreateTime); age < giveUpAfter || age > giveUpAfter+time.Minute {
		t.Errorf("given up after %v", age)
	}
	if said := f.log.String(); strings.Count(said, "level=WARN") != 1 || !strings.Contains(said, "a webhook is given up") {
		t.Errorf("the log says %s", said)
	}
}

func TestReceiversThatMisbehave(t *testing.T) {
	t.Parallel()
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	for name, test := range map[string]struct {
		answer http.HandlerFunc
		url    string
		says   string
		code   int
	}{
		"closes":        {answer: func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, says: "closed the connection"},
		"is not there":  {url: closed.URL, says: "refused the connection"},
		"has no name":   {url: "http://nobody.invalid/", says: "its name"},
		"speaks no TLS": {answer: status(200), url: "https://", says: "connection failed"},
		"is no URL":     {url: "http://[::1", says: "the URL is not one"},
		"sends an endless body": {
			answer: func(w http.ResponseWriter, r *http.Request) {
				for r.Context().Err() == nil {
					if _, err := w.Write(bytes.Repeat([]byte("x"), 1<<16)); err != nil {
						return
					}
				}
			},
			code: 200,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, nil)
			f.run(t)
			url := test.url
			if test.answer != nil {
				url += strings.TrimPrefix(receiver(t, test.answer).URL, map[bool]string{true: "http://"}[url != ""])
			}
			f.add(t, url)
			got := <-f.kept.outcomes
			if got.Code != test.code || !strings.Contains(got.Error, test.says) || (test.says == "") != (got.Error == "") {
				t.Errorf("got %+v, want %d, %q", got, test.code, test.says)
			}
		})
	}
}

// A receiver that hangs takes no more than its places, and others get theirs.
func TestASlowReceiverDoesNotHoldUpOthers(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	hang := make(chan struct{})
	slow := receiver(t, func(http.ResponseWriter, *http.Request) { <-hang })
	quick := receiver(t, status(200))
	const count = 60
	for range count {
		f.add(t, slow.URL)
	}
	for range count {
		f.add(t, quick.URL)
	}
	f.run(t)
	delivered, putOff := 0, 0
	for delivered < count || putOff < count-perReceiver {
		switch got := <-f.kept.outcomes; got.Status {
		case store.DeliveryDelivered:
			delivered++
		case store.DeliveryPending:
			if got.RetryAfter < 10*time.Second || !strings.Contains(got.Error, "slow") {
				t.Errorf("put off with %+v", got)
			}
			putOff++
		case store.DeliveryFailed:
			t.Errorf("given up with %+v", got)
		}
	}
	close(hang)
	for range perReceiver {
		f.wantOutcome(t, store.DeliveryDelivered, 200, "")
	}
}

// A burst to one receiver that keeps up is not put off.
func TestABurstToOneReceiverGoesThrough(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	server := receiver(t, status(200))
	const count = 300
	for range count {
		f.add(t, server.URL)
	}
	f.run(t)
	for range count {
		f.wantOutcome(t, store.DeliveryDelivered, 200, "")
	}
}

// Of several senders on one store one sends each delivery.
func TestSendersShareTheWork(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	var mu sync.Mutex
	seen := map[string]int{}
	server := receiver(t, func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		seen[r.Header.Get(standard.HeaderWebhookID)]++
	})
	const count = 100
	for range count {
		f.add(t, server.URL)
	}
	f.run(t)
	other := *f
	var err error
	if other.sender, err = New(f.sender.cfg); err != nil {
		t.Fatal(err)
	}
	other.run(t)
	for range count {
		f.wantOutcome(t, store.DeliveryDelivered, 200, "")
	}
	mu.Lock()
	defer mu.Unlock()
	for id, times := range seen {
		if times != 1 {
			t.Errorf("%s was sent %d times", id, times)
		}
	}
	if len(seen) != count {
		t.Errorf("%d deliveries came", len(seen))
	}
}

// A try that outlasts the sender is left to whoever comes next, at once.
func TestAnInterruptedTryIsTriedAgain(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	called, hang := make(chan struct{}), make(chan struct{})
	server := receiver(t, func(http.ResponseWriter, *http.Request) {
		close(called)
		<-hang
	})
	stop := f.run(t)
	task := f.add(t, server.URL)
	<-called
	stop()
	close(hang)
	got := f.wantOutcome(t, store.DeliveryPending, 0, "shutting down")
	if kept := f.delivery(t, task); got.RetryAfter != leastWait || kept.Status != store.DeliveryPending {
		t.Errorf("again in %v; kept %+v", got.RetryAfter, kept)
	}
}

// The environment's proxy is not asked: it could reach what this may not.
func TestNoProxy(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	if f.sender.client.Transport.(*http.Transport).Proxy != nil {
		t.Error("there is a proxy")
	}
}

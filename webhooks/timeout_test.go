package webhooks

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/runwire/runwire/store"
)

// A receiver that hangs is left after 15 seconds.
func TestATryTakesNoLongerThanItMay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, err := New(Config{Secrets: Secrets{All: []string{secret("a")}}})
		if err != nil {
			t.Fatal(err)
		}
		s.client.Transport = firstHop(func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		})
		begin := time.Now()
		got := s.attempt(context.Background(), &store.Delivery{NewDelivery: store.NewDelivery{ID: "msg_1", URL: "https://example.com"}})
		if took := time.Since(begin); took != tryTimeout || got.problem != "it did not answer in time" || got.final {
			t.Errorf("after %v: %+v", took, got)
		}
	})
}

package storetest

import (
	"testing"
	"time"

	"github.com/runwire/runwire/store"
)

func deliveryTests() map[string]func(*testing.T, *world) {
	return map[string]func(*testing.T, *world){
		"a delivery is tried until it comes through":          deliver,
		"a delivery whose caller is gone is tried by another": deliverLapsed,
		"a delivery that is given up ends":                    giveUp,
		"deliveries are claimed a few at a time":              claimDeliveries,
	}
}

// deliveries finishes a task for each delivery.
func (w *world) deliveries(t *testing.T, names ...string) {
	t.Helper()
	for _, id := range names {
		w.finish(t, w.claim(t, id), store.Ending{
			Status: store.StatusCompleted, Delivery: &store.NewDelivery{ID: id, URL: "https://example.com", Payload: []byte("p")},
		})
	}
}

func (w *world) claimDeliveries(t *testing.T, limit, want int) []store.Delivery {
	t.Helper()
	claimed, err := w.ClaimDeliveries(t.Context(), limit, lease)
	succeeds(t, err)
	same(t, "claimed", len(claimed), want)
	return claimed
}

func (w *world) delivery(t *testing.T, id string) store.Delivery {
	t.Helper()
	deliveries, err := w.ListDeliveries(t.Context(), tenant, id)
	succeeds(t, err)
	same(t, "deliveries", len(deliveries), 1)
	return deliveries[0]
}

func deliver(t *testing.T, w *world) {
	w.deliveries(t, "d1")
	want := w.delivery(t, "d1")
	claimed := w.claimDeliveries(t, 10, 1)[0]
	want.Attempt, want.NextTime = 1, w.clock.Now().Add(lease)
	same(t, "what is claimed", claimed, want)
	w.claimDeliveries(t, 10, 0)

	succeeds(t, w.RecordDelivery(t.Context(), claimed, store.Outcome{
		Status: store.DeliveryPending, RetryAfter: time.Minute, Code: 503, Error: "busy\x00",
	}))
	want.NextTime, want.LastCode, want.LastError = w.clock.Now().Add(time.Minute), 503, "busy\uFFFD"
	same(t, "what is kept", w.delivery(t, "d1"), want)
	w.claimDeliveries(t, 10, 0)
	w.clock.advance(time.Minute)
	claimed = w.claimDeliveries(t, 10, 1)[0]
	succeeds(t, w.RecordDelivery(t.Context(), claimed, store.Outcome{Status: store.DeliveryDelivered, Code: 204}))
	want.Attempt, want.Status, want.LastCode, want.LastError = 2, store.DeliveryDelivered, 204, ""
	want.NextTime, want.FinishTime = time.Time{}, w.clock.Now()
	same(t, "what is kept", w.delivery(t, "d1"), want)
	w.clock.advance(time.Hour)
	w.claimDeliveries(t, 10, 0)
}

func deliverLapsed(t *testing.T, w *world) {
	w.deliveries(t, "d1")
	lapsed := w.claimDeliveries(t, 1, 1)[0]
	w.clock.advance(lease)
	current := w.claimDeliveries(t, 1, 1)[0]
	fails(t, w.RecordDelivery(t.Context(), lapsed, store.Outcome{Status: store.DeliveryFailed}), store.ErrFenced)
	succeeds(t, w.RecordDelivery(t.Context(), current, store.Outcome{Status: store.DeliveryDelivered}))
	fails(t, w.RecordDelivery(t.Context(), current, store.Outcome{Status: store.DeliveryFailed}), store.ErrFenced)
	same(t, "the status", w.delivery(t, "d1").Status, store.DeliveryDelivered)
}

func giveUp(t *testing.T, w *world) {
	w.deliveries(t, "d1")
	claimed := w.claimDeliveries(t, 1, 1)[0]
	fails(t, w.RecordDelivery(t.Context(), claimed, store.Outcome{Status: 4}), store.ErrInvalid)
	succeeds(t, w.RecordDelivery(t.Context(), claimed, store.Outcome{Status: store.DeliveryFailed, Error: "no such host"}))
	w.clock.advance(time.Hour)
	w.claimDeliveries(t, 1, 0)
	same(t, "why", w.delivery(t, "d1").LastError, "no such host")
}

func claimDeliveries(t *testing.T, w *world) {
	w.deliveries(t, numbered("d", 10)...)
	seen := map[string]bool{}
	for _, want := range []int{4, 4, 2, 0} {
		for _, delivery := range w.claimDeliveries(t, 4, want) {
			seen[delivery.ID] = true
		}
	}
	same(t, "how many different ones", len(seen), 10)
}

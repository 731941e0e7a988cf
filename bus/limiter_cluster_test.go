package bus

import (
	"fmt"
	"net"
	"net/url"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/runwire/runwire/interceptors"
)

// newCluster starts three NATS servers that know each other.
func newCluster(t *testing.T) []*natsServer {
	t.Helper()
	var routes []*url.URL // NATS wants to know them all at the start
	for range 3 {
		listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		_ = listener.Close()
		routes = append(routes, &url.URL{Scheme: "nats", Host: listener.Addr().String()})
	}
	nodes := make([]*natsServer, len(routes))
	for i := range nodes {
		port, err := strconv.Atoi(routes[i].Port())
		if err != nil {
			t.Fatal(err)
		}
		s, err := server.NewServer(&server.Options{
			ServerName: fmt.Sprint("node-", i), Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: t.TempDir(),
			NoLog: true, NoSigs: true, JetStreamMaxMemory: 256 << 20, Routes: routes,
			Cluster: server.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: port},
		})
		if err != nil {
			t.Fatal(err)
		}
		s.Start()
		nodes[i] = &natsServer{t: t}
		nodes[i].current.Store(s)
		t.Cleanup(nodes[i].stop)
	}
	for i, node := range nodes {
		if !node.current.Load().ReadyForConnections(time.Minute) {
			t.Fatalf("node %d does not start", i)
		}
	}
	return nodes
}

// In a cluster the tallies are on three servers, and survive one of them.
func TestLimitsInACluster(t *testing.T) {
	t.Parallel()
	nodes := newCluster(t)
	r := &replicas{t: t, log: book{wrote: make(chan struct{}, 1)}}
	r.now.Store(time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC).UnixMicro())
	for _, node := range nodes {
		r.join(node, interceptors.Limits{PerUser: perMinute(10), Service: perMinute(15), ConcurrentRuns: 4})
	}
	r.settled()
	if info, err := r.limiters[0].ledger.handle().Info(t.Context()); err != nil || info.Config.Replicas != 3 {
		t.Fatalf("the stream is on %d servers, %v", info.Config.Replicas, err)
	}
	begun := r.flood(10, func(int) string { return "alice" })
	for r.refused(begun%3, "alice") == nil { // those that were in each other's way
		begun++
	}
	if begun != 10 {
		t.Errorf("%d runs began, want 10", begun)
	}
	nodes[2].stop()
	r.limiters = r.limiters[:2]
	r.settled()
	for replica := range r.limiters {
		r.want(replica, "alice", time.Minute, "user:alice")
	}
	if begun := r.flood(10, func(i int) string { return fmt.Sprint("user-", i) }); begun != 5 {
		t.Errorf("%d more runs began, want the 5 that the service allows", begun)
	}
}

// settled waits until the cluster has its leaders.
func (r *replicas) settled() {
	r.t.Helper()
	for _, l := range r.limiters {
		for l.beat(r.t.Context()) != nil {
			if r.t.Context().Err() != nil {
				r.t.Fatal("the cluster has no leader")
			}
		}
	}
	r.beat()
}

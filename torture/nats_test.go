//go:build linux

package torture

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// natsCluster is three NATS servers that keep what they have on the disk.
type natsCluster struct {
	t       *testing.T
	dir     string
	ports   [3]int
	routes  []*url.URL
	servers [3]*server.Server
}

func newNATSCluster(t *testing.T) *natsCluster {
	t.Helper()
	n := &natsCluster{t: t, dir: t.TempDir()}
	for i, port := range freePorts(t, 2*len(n.ports)) {
		if i < len(n.ports) {
			n.ports[i] = port
		} else {
			n.routes = append(n.routes, &url.URL{Scheme: "nats", Host: local(port)})
		}
	}
	n.start()
	t.Cleanup(n.stop)
	return n
}

func (n *natsCluster) start() {
	n.t.Helper()
	for i := range n.servers {
		_, text, _ := net.SplitHostPort(n.routes[i].Host)
		var port int
		if _, err := fmt.Sscan(text, &port); err != nil {
			n.t.Fatal(err)
		}
		s, err := server.NewServer(&server.Options{
			ServerName: fmt.Sprint("node-", i), Host: "127.0.0.1", Port: n.ports[i],
			JetStream: true, StoreDir: filepath.Join(n.dir, fmt.Sprint(i)), JetStreamMaxMemory: 256 << 20, JetStreamMaxStore: 1 << 30,
			NoLog: true, NoSigs: true, Routes: n.routes,
			// Else clients hear of the servers around the one that they were told of.
			Cluster: server.ClusterOpts{Name: "torture", Host: "127.0.0.1", Port: port, NoAdvertise: true},
		})
		if err != nil {
			n.t.Fatal(err)
		}
		s.Start()
		n.servers[i] = s
	}
	for i, s := range n.servers {
		if !s.ReadyForConnections(time.Minute) {
			n.t.Fatalf("NATS server %d does not start", i)
		}
	}
}

func (n *natsCluster) stop() {
	for _, s := range n.servers {
		s.Shutdown()
	}
	for _, s := range n.servers {
		s.WaitForShutdown()
	}
}

// wipe has all that was in NATS be gone.
func (n *natsCluster) wipe() {
	n.t.Helper()
	n.stop()
	if err := os.RemoveAll(n.dir); err != nil {
		n.t.Fatal(err)
	}
	n.start()
}

func (n *natsCluster) url() string {
	addresses := make([]string, len(n.ports))
	for i, port := range n.ports {
		addresses[i] = "nats://" + local(port)
	}
	return strings.Join(addresses, ",")
}

// network is the only way from one worker to NATS.
type network struct {
	listener net.Listener
	to       string
	copying  sync.WaitGroup

	mu    sync.Mutex
	whole chan struct{} // closed while what is sent arrives
	conns map[net.Conn]struct{}
}

func newNetwork(t *testing.T, to string) *network {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &network{listener: listener, to: to, whole: make(chan struct{}), conns: make(map[net.Conn]struct{})}
	close(n.whole)
	n.copying.Go(n.accept)
	t.Cleanup(n.close)
	return n
}

func (n *network) url() string { return "nats://" + n.listener.Addr().String() }

// cut has nothing arrive any more that is sent, nor hear anybody of that.
func (n *network) cut() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.whole = make(chan struct{})
}

// mend has all arrive that was sent since, as far as somebody still listens.
func (n *network) mend() {
	n.mu.Lock()
	defer n.mu.Unlock()
	close(n.whole)
}

func (n *network) state() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.whole
}

func (n *network) accept() {
	for {
		from, err := n.listener.Accept()
		if err != nil {
			return
		}
		n.copying.Go(func() { n.carry(from) })
	}
}

// carry passes on what the two sides of a connection send.
func (n *network) carry(from net.Conn) {
	n.hold(from)
	defer n.drop(from)
	<-n.state()
	to, err := net.Dial("tcp", n.to)
	if err != nil {
		return
	}
	n.hold(to)
	defer n.drop(to)
	back := make(chan struct{})
	go func() {
		defer close(back)
		n.pass(from, to)
	}()
	n.pass(to, from)
	<-back
}

func (n *network) pass(to, from net.Conn) {
	defer func() { _ = errors.Join(to.Close(), from.Close()) }() // so the other direction ends, too
	buffer := make([]byte, 32<<10)
	for {
		count, err := from.Read(buffer)
		<-n.state()
		if count > 0 {
			if _, err := to.Write(buffer[:count]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// hold keeps a connection among those to close at the end.
func (n *network) hold(conn net.Conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.conns[conn] = struct{}{}
}

func (n *network) drop(conn net.Conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.conns, conn)
	_ = conn.Close() // the other side may have done so
}

func (n *network) close() {
	_ = n.listener.Close()
	n.mu.Lock()
	select {
	case <-n.whole:
	default:
		close(n.whole)
	}
	for conn := range n.conns {
		_ = conn.Close()
	}
	n.mu.Unlock()
	n.copying.Wait()
}

// freePorts are ports that nobody has, on the loopback, and that no outgoing
// connection takes while their server is away.
func freePorts(t *testing.T, count int) []int {
	t.Helper()
	const lowest, ephemeral = 10_000, 32_768
	var ports []int
	var taken []net.Listener
	for len(ports) < count {
		port := lowest + rand.IntN(ephemeral-lowest)
		if listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", local(port)); err == nil {
			ports, taken = append(ports, port), append(taken, listener)
		}
	}
	for _, listener := range taken {
		_ = listener.Close()
	}
	return ports
}

func local(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

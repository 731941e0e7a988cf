package server

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/runwire/runwire/config"
	agentv1 "github.com/runwire/runwire/gen/agent/v1"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

func TestGarbageOnThePort(t *testing.T) {
	t.Parallel()
	f := serve(t, nil)
	for name, garbage := range map[string]string{
		"another protocol":        "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"TLS":                     "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + strings.Repeat("\x5a", 64),
		"noise":                   strings.Repeat("\x00\xff\x17", 100_000),
		"a preface, then noise":   http2.ClientPreface + strings.Repeat("\xff", 100_000),
		"a frame of a wrong size": http2.ClientPreface + "\xff\xff\xff\x04\x00\x00\x00\x00\x00",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn := f.knock(t)
			go func() { _, _ = io.WriteString(conn, garbage) }() // the server need not read it all
			mustClose(t, conn)
			f.mustAnswer(t)
		})
	}
}

func TestAThousandSilentConnections(t *testing.T) {
	t.Parallel()
	f := serve(t, nil)
	silent := make([]net.Conn, 1000)
	for i := range silent {
		silent[i] = f.knock(t)
	}
	f.mustAnswer(t)
	var closing sync.WaitGroup
	for _, conn := range silent {
		closing.Go(func() { mustClose(t, conn) })
	}
	closing.Wait()
	f.mustAnswer(t)
}

func TestTenMegabytesOfMetadata(t *testing.T) {
	t.Parallel()
	f := serve(t, nil)
	ctx := metadata.AppendToOutgoingContext(t.Context(), "x-large", strings.Repeat("x", 10<<20))
	_, err := agentv1.NewAgentServiceClient(f.dial(t)).ListAgents(ctx, &agentv1.ListAgentsRequest{})
	if status.Code(err) == codes.OK || !strings.Contains(err.Error(), "header list size") {
		t.Errorf("a client that heeds the server's settings: %v", err)
	}

	// One that does not heed them.
	conn := f.knock(t)
	framer := hello(t, conn)
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for name, value := range map[string]string{
		":method": "POST", ":scheme": "http", ":path": "/agent.v1.AgentService/ListAgents",
	} {
		_ = encoder.WriteField(hpack.HeaderField{Name: name, Value: value})
	}
	_ = encoder.WriteField(hpack.HeaderField{Name: "x-large", Value: strings.Repeat("x", 10<<20), Sensitive: true})
	go func() { // until the server hangs up
		rest := block.Bytes()
		err := framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: rest[:16<<10], EndStream: true})
		for rest = rest[16<<10:]; err == nil && len(rest) > 0; {
			n := min(len(rest), 16<<10)
			err = framer.WriteContinuation(1, n == len(rest), rest[:n])
			rest = rest[n:]
		}
	}()
	mustClose(t, conn)
	f.mustAnswer(t)
}

func TestAFloodOfPings(t *testing.T) {
	t.Parallel()
	f := serve(t, nil)
	conn := f.knock(t)
	framer := hello(t, conn)
	go func() {
		for framer.WritePing(false, [8]byte{}) == nil {
		}
	}()
	reader := http2.NewFramer(io.Discard, conn)
	for {
		frame, err := reader.ReadFrame()
		if err != nil {
			t.Fatalf("the server hung up without a word: %v", err)
		}
		if away, ok := frame.(*http2.GoAwayFrame); ok {
			if away.ErrCode != http2.ErrCodeEnhanceYourCalm {
				t.Errorf("the server said %v", away.ErrCode)
			}
			break
		}
	}
	f.mustAnswer(t)
}

func TestAMessageThatIsTooLarge(t *testing.T) {
	t.Parallel()
	f := serve(t, nil)
	client := agentv1.NewAgentServiceClient(f.dial(t))
	request := &agentv1.RunRequest{Message: strings.Repeat("x", maxRequest), UserId: "alice"}
	for name, options := range map[string][]grpc.CallOption{
		"as it is": nil,
		"packed":   {grpc.UseCompressor(gzip.Name)},
	} {
		_, err := client.Run(t.Context(), request, options...)
		if code := status.Code(err); code != codes.ResourceExhausted && code != codes.InvalidArgument {
			t.Errorf("%s: %v", name, err)
		}
	}
	f.mustAnswer(t)
}

func TestAClientThatDoesNotReadIsCutOff(t *testing.T) {
	t.Parallel()
	f := serve(t, func(c *Config) {
		c.StallTimeout = 100 * time.Millisecond
		talker := offlineAgent("talker", config.OfflineOptions{Tokens: 500_000})
		talker.MaxOutputTokens, talker.MaxTokensPerRun = 1_000_000, 1_000_000
		c.File.Agents = append(c.File.Agents, talker)
	})
	stream, err := agentv1.NewAgentServiceClient(f.dial(t)).StreamRun(t.Context(),
		&agentv1.StreamRunRequest{Message: "Hello?", UserId: "alice", Agent: "talker"})
	if err != nil {
		t.Fatal(err)
	}
	f.log.wait(t, `"code":"ABORTED"`)
	f.mustAnswer(t)
	if _, err := rest(stream); status.Code(err) != codes.Aborted {
		t.Errorf("the stream ended with %v", err)
	}
}

func TestAConnectionHasABoundOnItsCalls(t *testing.T) {
	t.Parallel()
	conn := serve(t, nil).knock(t)
	hello(t, conn)
	frame, err := http2.NewFramer(io.Discard, conn).ReadFrame()
	settings, ok := frame.(*http2.SettingsFrame)
	if err != nil || !ok {
		t.Fatalf("the server began with %v, %v", frame, err)
	}
	for id, want := range map[http2.SettingID]uint32{
		http2.SettingMaxConcurrentStreams: maxStreams,
		http2.SettingMaxHeaderListSize:    maxMetadata,
	} {
		if got, said := settings.Value(id); !said || got != want {
			t.Errorf("%v is %d, want %d", id, got, want)
		}
	}
}

// knock opens a bare connection.
func (f *fixture) knock(t *testing.T) net.Conn {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", f.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// hello begins HTTP/2 on a bare connection.
func hello(t *testing.T, conn net.Conn) *http2.Framer {
	t.Helper()
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	framer := http2.NewFramer(conn, conn)
	if err := framer.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	return framer
}

// mustClose fails the test unless the server closes the connection, in time
// that is long enough for any machine.
func mustClose(t *testing.T, conn net.Conn) {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(handshakeTimeout + time.Minute)); err != nil {
		t.Error(err)
	}
	_, err := io.Copy(io.Discard, conn)
	if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() {
		t.Error("the server keeps the connection")
	}
}

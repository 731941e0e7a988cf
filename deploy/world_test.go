//go:build unix

package deploy_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/runwire/runwire/store/storetest/postgres"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
)

// root is the repository, seen from this folder.
const root = ".."

// patience is how long anything may take that is waited for.
const patience = time.Minute

// world is what compose.yaml describes, as processes of this machine: the same
// files, with other addresses and folders.
type world struct {
	t       *testing.T
	dir     string
	bin     string
	nginx   string
	key     string
	address string // nginx's
	status  string // and of its second server

	// replace puts this machine's addresses and folders into the files.
	replace *strings.Replacer
	env     []string
	servers map[string]*process
}

// newWorld starts everything. Without nginx the test is skipped.
func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), servers: map[string]*process{}}
	w.findPrograms()
	w.address, w.status = freeAddress(t), freeAddress(t)
	swaps := []string{
		"listen 443 ", "listen " + w.address + " ", "listen 8081;", "listen " + w.status + ";",
		"/run/nginx.pid", w.path("nginx.pid"), "/run/nginx.conf", w.path("running.conf"), "/etc/nginx/nginx.conf", w.path("nginx.conf"),
		"/run/secrets", w.path("secrets"),
		"http {", "http { " + w.nginxFolders(),
	}
	for _, name := range []string{"api-1:50051", "api-2:50051", "nats-1:4222", "nats-2:4222", "nats-3:4222", "nats-1:6222", "nats-2:6222", "nats-3:6222"} {
		swaps = append(swaps, name, freeAddress(t))
	}
	// roll.sh knows a replica by its name.
	w.replace = strings.NewReplacer(swaps...)
	for _, name := range []string{"api-1", "api-2"} {
		swaps = append(swaps, name+":[0-9]*", w.replace.Replace(name+":50051"))
	}
	w.replace = strings.NewReplacer(swaps...)

	w.makeSecrets()
	w.env = append(w.env, "RUNWIRE_DATABASE_URL="+postgres.Start(t).Schema(t))
	w.startNATS()
	for _, name := range []string{"api-1", "api-2", "worker"} {
		w.start(name)
	}
	w.startNginx()
	return w
}

func (w *world) path(name string) string { return filepath.Join(w.dir, name) }

func (w *world) findPrograms() {
	w.t.Helper()
	var err error
	if w.nginx, err = exec.LookPath("nginx"); err != nil {
		w.nginx = "/usr/sbin/nginx"
	}
	if _, err := os.Stat(w.nginx); err != nil {
		w.t.Skip("nginx is not installed")
	}
	if _, err := exec.LookPath("openssl"); err != nil {
		w.t.Skip("openssl is not installed")
	}
	if w.bin, err = build(); err != nil {
		w.t.Fatal(err)
	}
}

// nginxFolders are those that Debian's nginx has where only root may write.
func (w *world) nginxFolders() string {
	var text strings.Builder
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		fmt.Fprintf(&text, "%s_temp_path %s; ", kind, w.path(kind))
	}
	return text.String()
}

// makeSecrets runs secrets.sh.
func (w *world) makeSecrets() {
	w.t.Helper()
	if out, err := exec.Command("./secrets.sh", w.path("secrets")).CombinedOutput(); err != nil {
		w.t.Fatalf("secrets.sh: %v\n%s", err, out)
	}
	w.key = strings.TrimSpace(w.read(w.path("secrets/api-key")))
	w.env = slices.Concat(w.variables("runwire.env"), w.variables("runwire-nats.env"))
}

// variables are those of a file for a container.
func (w *world) variables(file string) []string {
	w.t.Helper()
	lines := strings.Split(w.replace.Replace(w.read(w.path("secrets/"+file))), "\n")
	return slices.DeleteFunc(lines, func(line string) bool { return line == "" || strings.HasPrefix(line, "#") })
}

func (w *world) read(file string) string {
	w.t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		w.t.Fatal(err)
	}
	return string(data)
}

// install writes a file of this folder as this machine needs it.
func (w *world) install(file, as string, swaps *strings.Replacer) string {
	w.t.Helper()
	path := w.path(as)
	if err := os.WriteFile(path, []byte(swaps.Replace(w.read(file))), 0o600); err != nil {
		w.t.Fatal(err)
	}
	return path
}

// startNATS starts the cluster, which is healthy once its servers have met.
func (w *world) startNATS() {
	w.t.Helper()
	var health []string
	for _, name := range []string{"nats-1", "nats-2", "nats-3"} {
		monitor := freeAddress(w.t)
		config := w.install("nats.conf", name+".conf", strings.NewReplacer(
			"0.0.0.0:4222", w.replace.Replace(name+":4222"), "0.0.0.0:6222", w.replace.Replace(name+":6222"),
			"0.0.0.0:8222", monitor, "/data", w.path(name)))
		w.servers[name] = w.run(name, w.variables("nats.env"), filepath.Join(w.bin, "nats-server"), "--config", config, "--name", name)
		health = append(health, "http://"+monitor+"/healthz")
	}
	await(w.t, "NATS is healthy", func(ctx context.Context) bool {
		return !slices.ContainsFunc(health, func(url string) bool { return !answers(ctx, url) })
	})
}

// start starts one of compose.yaml's services of Runwire, and returns once it
// serves.
func (w *world) start(name string) {
	w.t.Helper()
	service := strings.TrimRight(name, "-12")
	listen := "127.0.0.1:0"
	if service == "api" {
		listen = w.replace.Replace(name + ":50051")
	}
	args := []string{"serve", "--role", service, "--listen", listen, "--http-listen", "127.0.0.1:0", "--config", "runwire.yaml", "--drain-timeout", "60s"}
	p := w.run(name, w.env, filepath.Join(w.bin, "runwire"), args...)
	select {
	case <-p.serving:
	case <-p.done:
		w.t.Fatalf("%s does not start", name)
	}
	w.servers[name] = p
}

func (w *world) startNginx() {
	w.t.Helper()
	w.install("nginx.conf", "nginx.conf", w.replace)
	running := w.install("nginx.conf", "running.conf", w.replace)
	w.servers["nginx"] = w.run("nginx", nil, w.nginx, "-e", "stderr", "-c", running, "-g", "daemon off;")
	await(w.t, "nginx answers", func(ctx context.Context) bool { return answers(ctx, "http://"+w.status+"/healthz") })
}

// dial is a client's connection to nginx, with the key.
func (w *world) dial() *grpc.ClientConn {
	w.t.Helper()
	authorities := x509.NewCertPool()
	authorities.AppendCertsFromPEM([]byte(w.read(w.path("secrets/tls-cert"))))
	conn, err := grpc.NewClient(w.address, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: authorities, MinVersion: tls.VersionTLS12})))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// limits is where replicas count what users have run.
func (w *world) limits(t *testing.T) jetstream.Stream {
	t.Helper()
	at := slices.IndexFunc(w.env, func(variable string) bool { return strings.HasPrefix(variable, "RUNWIRE_NATS_URL=") })
	conn, err := nats.Connect(strings.TrimPrefix(w.env[at], "RUNWIRE_NATS_URL="))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), "RUNWIRE_LIMITS")
	if err != nil {
		t.Fatal(err)
	}
	return stream
}

// ctx carries the key.
func (w *world) ctx() context.Context {
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	w.t.Cleanup(cancel)
	return metadata.AppendToOutgoingContext(ctx, "x-api-key", w.key)
}

// process is a program that runs until the test ends.
type process struct {
	cmd     *exec.Cmd
	serving chan struct{} // closed once it says so
	done    chan struct{} // closed once it has ended
	err     error         // of its end

	mu   sync.Mutex
	said []string
}

// run starts a program with env beside the PATH only.
func (w *world) run(name string, env []string, program string, args ...string) *process {
	w.t.Helper()
	read, write, err := os.Pipe()
	if err != nil {
		w.t.Fatal(err)
	}
	p := &process{cmd: exec.Command(program, args...), serving: make(chan struct{}), done: make(chan struct{})}
	p.cmd.Env = slices.Concat([]string{"PATH=" + os.Getenv("PATH"), "GORACE=atexit_sleep_ms=0"}, env)
	p.cmd.Stdout, p.cmd.Stderr = write, write
	if err := p.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	_ = write.Close() // it is the program's
	go p.follow(read)
	w.t.Cleanup(func() {
		p.stop(syscall.SIGTERM)
		if w.t.Failed() {
			w.t.Logf("%s:\n%s", name, strings.Join(p.said, "\n"))
		}
	})
	return p
}

func (p *process) follow(output *os.File) {
	defer close(p.done)
	defer output.Close()
	lines := bufio.NewScanner(output)
	for lines.Scan() {
		p.mu.Lock()
		p.said = append(p.said, lines.Text())
		p.mu.Unlock()
		var line struct{ Message string }
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Message == "serving" {
			close(p.serving)
		}
	}
	p.err = p.cmd.Wait()
}

// stop sends a signal and returns how the program ended.
func (p *process) stop(how syscall.Signal) error {
	_ = p.cmd.Process.Signal(how) // it has ended already
	<-p.done
	return p.err
}

// lines are those that it has said with text in them.
func (p *process) lines(text string) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(p.said), func(line string) bool { return !strings.Contains(line, text) })
}

func answers(ctx context.Context, url string) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	request.Close = true
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	_ = response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// await returns once what happens, which is looked at again and again.
func await(t *testing.T, what string, happens func(context.Context) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !happens(ctx) {
		select {
		case <-ctx.Done():
			t.Fatalf("waited in vain: %s", what)
		case <-tick.C:
		}
	}
}

// given are the ports that freeAddress has returned.
var given sync.Map

// freeAddress is one that nobody listens on, and that no outgoing connection
// and no other call is given while its server is away.
func freeAddress(t *testing.T) string {
	t.Helper()
	const lowest, others = 3_000, 10_000
	for {
		port := lowest + rand.IntN(others-lowest)
		address := fmt.Sprintf("127.0.0.1:%d", port)
		listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", address)
		if err != nil {
			continue
		}
		_ = listener.Close()
		if _, taken := given.LoadOrStore(port, true); !taken {
			return address
		}
	}
}

// build makes the programs under test, in a folder of their own.
var build = sync.OnceValues(func() (string, error) {
	dir, err := filepath.Abs(filepath.Join(root, ".cache", "deploy"))
	if err != nil {
		return "", err
	}
	args := []string{"build", "-o", dir + "/", "./cmd/runwire", "github.com/nats-io/nats-server/v2"}
	if info, ok := debug.ReadBuildInfo(); ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		args = slices.Insert(args, 1, "-race")
	}
	cmd := exec.Command("go", args...)
	cmd.Dir, cmd.Stderr = root, os.Stderr
	return dir, cmd.Run()
})

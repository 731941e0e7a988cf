package mcp

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// exitWithin is how long a program may take to exit once its input is closed,
// and again once it is asked to.
const exitWithin = 2 * time.Second

// maxLogged is how much of what a program writes beside messages is logged at
// a time, in bytes.
const maxLogged = 1 << 10

// process is a server that is a program, and the connection to it: a message a
// line, each way. What is no message is skipped, so that a program which greets
// its user is understood all the same.
type process struct {
	cmd *exec.Cmd
	log *slog.Logger
	ctx context.Context // for the log

	incoming chan jsonrpc.Message
	lock     chan struct{} // held by the one that writes

	mu    sync.Mutex
	input *os.File // nil until it runs

	closed   chan struct{} // no message is wanted any more
	ended    chan struct{} // the output is at its end
	exited   chan struct{} // the program is gone
	stopOnce sync.Once
}

var (
	_ wire           = (*process)(nil)
	_ mcp.Connection = (*process)(nil)
)

func newProcess(ctx context.Context, command []string, env map[string]string, log *slog.Logger) *process {
	cmd := exec.Command(command[0], command[1:]...) //nolint:gosec,noctx // the operator names it; stop ends it
	cmd.Env = environment(env)
	ownGroup(cmd)
	return &process{
		cmd:      cmd,
		log:      log,
		ctx:      ctx,
		incoming: make(chan jsonrpc.Message),
		lock:     make(chan struct{}, 1),
		closed:   make(chan struct{}),
		ended:    make(chan struct{}),
		exited:   make(chan struct{}),
	}
}

// environment is what a program needs to run at all, and extra. The rest of
// this process's environment holds keys that are none of its business.
func environment(extra map[string]string) []string {
	var env []string
	for _, name := range []string{
		"PATH", "HOME", "USER", "LOGNAME", "SHELL", "TERM", "LANG", "LC_ALL", "TZ", "TMPDIR",
		"SYSTEMROOT", "SYSTEMDRIVE", "PATHEXT", "APPDATA", "LOCALAPPDATA", "USERPROFILE", "TEMP", "TMP",
	} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	for name, value := range extra {
		env = append(env, name+"="+value)
	}
	slices.Sort(env)
	return env
}

// Connect starts the program.
func (p *process) Connect(context.Context) (mcp.Connection, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.closed:
		return nil, io.ErrClosedPipe
	default:
	}
	stdin, input, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("opening a pipe: %w", err)
	}
	output, stdout, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening a pipe: %w", err), stdin.Close(), input.Close())
	}
	p.cmd.Stdin, p.cmd.Stdout = stdin, stdout
	p.cmd.Stderr = &complaints{p: p}
	p.cmd.WaitDelay = exitWithin
	err = p.cmd.Start()
	_, _ = stdin.Close(), stdout.Close() // the program has its own
	if err != nil {
		return nil, errors.Join(fmt.Errorf("starting the program: %w", err), input.Close(), output.Close())
	}
	p.input = input
	go p.listen(output)
	go func() {
		defer close(p.exited)
		if err := p.cmd.Wait(); err != nil {
			p.log.DebugContext(p.ctx, "mcp server exited", slog.Any("error", err))
		}
	}()
	return p, nil
}

// listen passes on the messages of the program until its output ends.
func (p *process) listen(output *os.File) {
	defer close(p.ended)
	defer output.Close() //nolint:errcheck // only read from
	go func() {
		<-p.exited // a grandchild may still hold the output
		_ = output.SetReadDeadline(time.Now().Add(exitWithin))
	}()
	lines := bufio.NewReaderSize(output, 64<<10)
	for {
		message, err := p.message(lines)
		if err != nil {
			return
		}
		if message == nil {
			continue
		}
		select {
		case p.incoming <- message:
		case <-p.closed: // read on, or the program might never get to its end
		}
	}
}

// message reads a line; nil if it is no message.
func (p *process) message(lines *bufio.Reader) (jsonrpc.Message, error) {
	var line []byte
	for {
		piece, err := lines.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull) && len(line)+len(piece) <= maxMessage:
			line = append(line, piece...)
			continue
		case errors.Is(err, bufio.ErrBufferFull):
			return p.skim(line, piece, lines)
		case err != nil:
			return nil, err //nolint:wrapcheck // nobody is told
		}
		return p.understood(bytes.TrimSpace(append(line, piece...))), nil
	}
}

func (p *process) understood(line []byte) jsonrpc.Message {
	if len(line) == 0 {
		return nil
	}
	message, err := jsonrpc.DecodeMessage(line)
	if err != nil {
		p.log.DebugContext(p.ctx, "mcp server wrote what is no message", slog.String("line", logged(line)))
		return nil
	}
	return message
}

// skim reads the rest of a line that is too long, and answers the call that it
// was to answer.
func (p *process) skim(line, piece []byte, lines *bufio.Reader) (jsonrpc.Message, error) {
	var s skimmer
	s.read(line)
	for {
		s.read(piece)
		next, err := lines.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return nil, err //nolint:wrapcheck // nobody is told
		}
		piece = next
		if err == nil {
			break
		}
	}
	s.read(piece)
	p.log.WarnContext(p.ctx, "mcp server wrote a message that is too long", slog.Int("most_bytes", maxMessage))
	if id, ok := s.answers(); ok {
		return tooLong(id), nil
	}
	return nil, nil //nolint:nilnil // no message, and no error
}

// Read returns the next message.
func (p *process) Read(ctx context.Context) (jsonrpc.Message, error) {
	select {
	case message := <-p.incoming:
		return message, nil
	case <-p.ended:
		return nil, io.EOF
	case <-p.closed:
		return nil, io.EOF
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// Write sends a message. A program that takes no input while ctx lasts gets no
// more of it.
func (p *process) Write(ctx context.Context, message jsonrpc.Message) error {
	data, err := jsonrpc.EncodeMessage(message)
	if err != nil {
		return fmt.Errorf("writing a message: %w", err)
	}
	select {
	case p.lock <- struct{}{}:
		defer func() { <-p.lock }()
	case <-p.closed:
		return io.ErrClosedPipe
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	interrupted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(interrupted)
		_ = p.input.SetWriteDeadline(time.Unix(1, 0))
	})
	n, err := p.input.Write(append(data, '\n'))
	if !stop() {
		<-interrupted
		_ = p.input.SetWriteDeadline(time.Time{})
	}
	if err != nil && n > 0 { // half a message: nothing after it would be understood
		p.hangUp()
	}
	if err != nil {
		return fmt.Errorf("writing a message: %w", err)
	}
	return nil
}

// Close closes the program's input, at which it is to exit.
func (p *process) Close() error {
	p.hangUp()
	return nil
}

// SessionID is empty: a program has one session.
func (p *process) SessionID() string { return "" }

// hangUp says whether there is a program to hang up on.
func (p *process) hangUp() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.closed:
	default:
		close(p.closed)
		if p.input != nil {
			_ = p.input.Close() // at its end the program exits
		}
	}
	return p.input != nil
}

func (p *process) stop() {
	p.stopOnce.Do(func() {
		if !p.hangUp() {
			return
		}
		for _, end := range []func(*exec.Cmd){askGroup, killGroup} {
			select {
			case <-p.exited:
			case <-time.After(exitWithin):
				end(p.cmd)
			}
		}
		<-p.exited
		killGroup(p.cmd) // what it has left behind
		<-p.ended
	})
}

func (p *process) kill() {
	if p.hangUp() {
		killGroup(p.cmd)
	}
}

// complaints logs what a program writes to its standard error.
type complaints struct {
	p *process
}

func (c *complaints) Write(text []byte) (int, error) {
	if line := bytes.TrimSpace(text); len(line) > 0 {
		c.p.log.DebugContext(c.p.ctx, "mcp server says", slog.String("text", logged(line)))
	}
	return len(text), nil
}

// logged is the beginning of what may be anything.
func logged(line []byte) string {
	return string(bytes.ToValidUTF8(line[:min(len(line), maxLogged)], []byte("?")))
}

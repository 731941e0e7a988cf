// Command runwire serves AI agents over gRPC and talks to them. It is the
// command line and nothing else: it must not know how agents run or are served.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
)

// How a command ended, for the shell.
const (
	exitOK     = 0
	exitFailed = 1
	// exitMistake is a mistake on the command line or in the configuration.
	exitMistake = 2
	// exitInterrupted is what shells show for a command ended by Ctrl-C.
	exitInterrupted = 130
)

func main() {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2) // none of the two that count is lost
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		<-signals // asks the command to end
		cancel()
		second := <-signals // ends it at once, as a shell shows it
		if number, ok := second.(syscall.Signal); ok {
			os.Exit(128 + int(number))
		}
	}()
	os.Exit(execute(ctx, os.Args[1:], terminal{in: os.Stdin, out: os.Stdout, err: os.Stderr}))
}

// terminal is what a command reads from and writes to.
type terminal struct {
	in       io.Reader
	out, err io.Writer
}

// cli is the command line: a field a command.
type cli struct {
	Serve    serveCommand     `cmd:"" help:"Serve agents over gRPC."`
	Run      runCommand       `cmd:"" help:"Ask an agent and stream its answer to the terminal."`
	Estimate estimateCommand  `cmd:"" help:"Say what a run would likely cost, and run nothing."`
	Task     taskCommands     `cmd:"" help:"Have agents run in the background, as tasks."`
	Schedule scheduleCommands `cmd:"" help:"Submit tasks again and again."`
	Session  sessionCommands  `cmd:"" help:"Show conversations, and delete them."`
	Memory   memoryCommands   `cmd:"" help:"Show what is remembered of users, save notes and delete them."`
	Usage    usageCommand     `cmd:"" help:"Say what models were paid for."`
	Keys     keyCommands      `cmd:"" help:"Make API keys."`
	Version  versionCommand   `cmd:"" help:"Say which Runwire this is."`
}

type keyCommands struct {
	New newKeyCommand `cmd:"" help:"Make an API key: shown once, kept nowhere."`
}

// execute runs the command that args name and returns the exit code.
func execute(ctx context.Context, args []string, term terminal) int {
	exited := -1
	parser, err := newParser(&cli{}, term, func(code int) { exited = code })
	if err != nil {
		return report(term, err)
	}
	command, err := parser.Parse(args)
	if exited >= 0 { // it was --help
		return exited
	}
	if err != nil {
		fmt.Fprintf(term.err, "runwire: %v\n", err)
		fmt.Fprintln(term.err, "runwire: `runwire --help` and `runwire COMMAND --help` say what there is")
		return exitMistake
	}
	command.BindTo(ctx, (*context.Context)(nil))
	return report(term, command.Run(term))
}

func newParser(commands *cli, term terminal, exit func(int)) (*kong.Kong, error) {
	parser, err := kong.New(commands,
		kong.Name("runwire"),
		kong.Description("Runwire serves AI agents over gRPC. Every flag can be given as an environment variable too."),
		kong.DefaultEnvars("RUNWIRE"),
		kong.Vars{"user": cmp.Or(os.Getenv("USER"), "someone")},
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.Writers(term.out, term.err),
		kong.Exit(exit),
	)
	if err != nil {
		return nil, fmt.Errorf("build the command line: %w", err)
	}
	return parser, nil
}

// exitError ends a command that has said all there is to say.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// report tells what went wrong, unless the command has, and returns the exit code.
func report(term terminal, err error) int {
	var exit exitError
	var wrong mistake
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &exit):
		return int(exit)
	case errors.As(err, &wrong):
		fmt.Fprintf(term.err, "%v\n", wrong.error)
		return exitMistake
	default:
		fmt.Fprintf(term.err, "runwire: %v\n", err)
		return exitFailed
	}
}

// mistake is an error that only the user can mend.
type mistake struct{ error }

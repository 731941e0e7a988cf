package main

import (
	"context"
	"fmt"
	"time"

	agentv1 "github.com/runwire/runwire/gen/agent/v1"
	"google.golang.org/grpc"
)

type memoryCommands struct {
	Save   saveMemoryCommand     `cmd:"" help:"Save a note about a user and print its id."`
	Search searchMemoriesCommand `cmd:"" help:"Find a user's notes, the best first."`
	List   listMemoriesCommand   `cmd:"" help:"List a user's notes, those saved last first."`
	Delete deleteMemoryCommand   `cmd:"" help:"Delete a note."`
}

type saveMemoryCommand struct {
	Text string `arg:"" help:"The note; '-' reads it from standard input."`

	User    string `help:"Whom it is about." default:"${user}"`
	Session string `help:"The session with which it shall be deleted." placeholder:"ID"`
	JSON    bool   `name:"json" help:"Print the note as a JSON object."`

	Remote remote `embed:""`
}

// Run saves the note and prints its id.
func (c *saveMemoryCommand) Run(ctx context.Context, term terminal) error {
	text, err := readMessage(c.Text, term.in)
	if err != nil {
		return err
	}
	return c.Remote.ask(ctx, term, func(conn grpc.ClientConnInterface) error {
		response, err := agentv1.NewMemoryServiceClient(conn).SaveMemory(ctx, &agentv1.SaveMemoryRequest{
			UserId: c.User, Text: text, SessionId: c.Session,
		})
		if err != nil {
			return err
		}
		if c.JSON {
			return writeLine(term.out, response.GetMemory())
		}
		_, err = fmt.Fprintln(term.out, oneLine(response.GetMemory().GetMemoryId()))
		return err
	})
}

// newNotes shows notes, each on a line.
func newNotes(term terminal, asJSON bool) *rows[*agentv1.Memory] {
	now := time.Now()
	return newRows(term.out, asJSON, []string{"ID", "SAVED", "SESSION", "NOTE"}, func(m *agentv1.Memory) []string {
		return []string{m.GetMemoryId(), age(now, m.GetCreateTime()), m.GetSessionId(), m.GetText()}
	})
}

type searchMemoriesCommand struct {
	Query string `arg:"" help:"What to look for, in plain words."`

	User  string `help:"Whose." default:"${user}"`
	Limit int32  `help:"How many at most, up to 100." default:"10"`
	JSON  bool   `name:"json" help:"Print the notes, a JSON object a line."`

	Remote remote `embed:""`
}

// Run shows what is found.
func (c *searchMemoriesCommand) Run(ctx context.Context, term terminal) error {
	return c.Remote.ask(ctx, term, func(conn grpc.ClientConnInterface) error {
		response, err := agentv1.NewMemoryServiceClient(conn).SearchMemories(ctx, &agentv1.SearchMemoriesRequest{
			UserId: c.User, Query: c.Query, Limit: c.Limit,
		})
		if err != nil {
			return err
		}
		notes := newNotes(term, c.JSON)
		for _, memory := range response.GetMemories() {
			if err := notes.show(memory); err != nil {
				return err
			}
		}
		return notes.flush()
	})
}

type listMemoriesCommand struct {
	User  string `help:"Whose." default:"${user}"`
	Limit uint32 `help:"How many at most; 0 is all." default:"50"`
	JSON  bool   `name:"json" help:"Print the notes, a JSON object a line."`

	Remote remote `embed:""`
}

// Run lists the notes.
func (c *listMemoriesCommand) Run(ctx context.Context, term terminal) error {
	return c.Remote.ask(ctx, term, func(conn grpc.ClientConnInterface) error {
		client := agentv1.NewMemoryServiceClient(conn)
		return newNotes(term, c.JSON).pages(c.Limit, func(size int32, token string) ([]*agentv1.Memory, string, error) {
			response, err := client.ListMemories(ctx, &agentv1.ListMemoriesRequest{
				UserId: c.User, PageSize: size, PageToken: token,
			})
			return response.GetMemories(), response.GetNextPageToken(), err
		})
	})
}

type deleteMemoryCommand struct {
	ID   string `arg:"" name:"id" help:"The note's id."`
	JSON bool   `name:"json" help:"Print the response as a JSON object."`

	Remote remote `embed:""`
}

// Run deletes the note.
func (c *deleteMemoryCommand) Run(ctx context.Context, term terminal) error {
	return c.Remote.ask(ctx, term, func(conn grpc.ClientConnInterface) error {
		response, err := agentv1.NewMemoryServiceClient(conn).DeleteMemory(ctx, &agentv1.DeleteMemoryRequest{MemoryId: c.ID})
		if err != nil {
			return err
		}
		if c.JSON {
			return writeLine(term.out, response)
		}
		_, err = fmt.Fprintf(term.out, "memory %s is deleted\n", oneLine(c.ID))
		return err
	})
}

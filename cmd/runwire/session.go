package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	agentv1 "github.com/runwire/runwire/gen/agent/v1"
	"google.golang.org/grpc"
)

type sessionCommands struct {
	List     listSessionsCommand  `cmd:"" help:"List a user's sessions, those made last first."`
	Get      getSessionCommand    `cmd:"" help:"Show a session."`
	Messages messagesCommand      `cmd:"" help:"Show what was said in a session."`
	Delete   deleteSessionCommand `cmd:"" help:"Delete a session with its messages and tasks."`
}

type listSessionsCommand struct {
	User  string `help:"Whose." default:"${user}"`
	Limit uint32 `help:"How many at most; 0 is all." default:"50"`
	JSON  bool   `name:"json" help:"Print the sessions, a JSON object a line."`

	Remote remote `embed:""`
}

// Run lists the sessions.
func (c *listSessionsCommand) Run(ctx context.Context, term terminal) error {
	rows := newRows(term.out, c.JSON, []string{"ID", "USER", "MESSAGES", "MADE", "WRITTEN"}, func(s *agentv1.Session) []string {
		now := time.Now()
		return []string{
			s.GetSessionId(), s.GetUserId(), strconv.FormatInt(s.GetMessageCount(), 10), age(now, s.GetCreateTime()), age(now, s.GetUpdateTime()),
		}
	})
	return c.Remote.ask(ctx, term, func(conn grpc.ClientConnInterface) error {
		client := agentv1.NewSessionServiceClient(conn)
		return rows.pages(c.Limit, func(size int32, token string) ([]*agentv1.Session, string, error) {
			response, err := client.ListSessions(ctx, &agentv1.ListSessionsRequest{
				UserId: c.User, PageSize: size, PageToken: token,
			})
			return response.GetSessions(), response.GetNextPageToken(), err
		})
	})
}

// sessionID names a session.
type sessionID struct {
	ID string `arg:"" name:"id" help:"The session's id."`
}

type getSessionCommand struct {
	Session sessionID `embed:""`

	JSON bool `name:"json" help:"Print the session as a JSON object."`

	Remote remote `embed:""`
}

// Run shows the session.
func (c *getSessionCommand) Run(ctx context.Context, term terminal) error {
	return c.Remote.ask(ctx, term, func(conn grpc.ClientConnInterface) error {
		response, err := agentv1.NewSessionServiceClient(conn).GetSession(ctx, &agentv1.GetSessionRequest{SessionId: c.Session.ID})
		if err != nil {
			return err
		}
		session := response.GetSession()
		if c.JSON {
			return writeLine(term.out, session)
		}
		facts := newTable(term.out)
		facts.fact("session", session.GetSessionId())
		facts.fact("user", session.GetUserId())
		facts.fact("messages", strconv.FormatInt(session.GetMessageCount(), 10))
		facts.fact("made", instant(session.GetCreateTime()))
		facts.fact("written", instant(session.GetUpdateTime()))
		return facts.flush()
	})
}

type messagesCommand struct {
	Session sessionID `embed:""`

	Limit uint32 `help:"How many at most, the oldest first; 0 is all." default:"0"`
	JSON  bool   `name:"json" help:"Print the messages, a JSON object a line."`

	Remote remote `embed:""`
}

// Run shows what was said.
func (c *messagesCommand) Run(ctx context.Context, term terminal) error {
	return c.Remote.ask(ctx, term, func(conn grpc.ClientConnInterface) error {
		client := agentv1.NewSessionServiceClient(conn)
		show := newSpeech(term.out)
		if c.JSON {
			show = func(m *agentv1.SessionMessage) error { return writeLine(term.out, m) }
		}
		return pages(c.Limit, show, func(size int32, token string) ([]*agentv1.SessionMessage, string, error) {
			response, err := client.ListMessages(ctx, &agentv1.ListMessagesRequest{
				SessionId: c.Session.ID, PageSize: size, PageToken: token,
			})
			return response.GetMessages(), response.GetNextPageToken(), err
		})
	})
}

// newSpeech shows messages as in a play. A message's further lines are indented,
// so that none passes for what somebody else says or does.
func newSpeech(w io.Writer) func(*agentv1.SessionMessage) error {
	said := voice{w: w, clean: true}
	return func(m *agentv1.SessionMessage) error {
		role := enumName(m.GetRole(), "MESSAGE_ROLE_")
		var text strings.Builder
		switch {
		case m.GetRole() == agentv1.MessageRole_MESSAGE_ROLE_TOOL:
			text.WriteString("← " + oneLine(m.GetText()) + "\n")
		case m.GetText() != "":
			text.WriteString(role + ": " + strings.ReplaceAll(m.GetText(), "\n", "\n  ") + "\n")
		}
		for _, call := range m.GetToolCalls() {
			text.WriteString("→ " + oneLine(call.GetTool()+" "+call.GetArgumentsJson()) + "\n")
		}
		return said.say(text.String())
	}
}

type deleteSessionCommand struct {
	Session sessionID `embed:""`

	JSON bool `name:"json" help:"Print the response as a JSON object."`

	Remote remote `embed:""`
}

// Run deletes the session.
func (c *deleteSessionCommand) Run(ctx context.Context, term terminal) error {
	return c.Remote.ask(ctx, term, func(conn grpc.ClientConnInterface) error {
		response, err := agentv1.NewSessionServiceClient(conn).DeleteSession(ctx, &agentv1.DeleteSessionRequest{SessionId: c.Session.ID})
		if err != nil {
			return err
		}
		if c.JSON {
			return writeLine(term.out, response)
		}
		_, err = fmt.Fprintf(term.out, "session %s is deleted\n", oneLine(c.Session.ID))
		return err
	})
}

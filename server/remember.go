package server

import (
	"context"
	"log/slog"
	"strings"

	"github.com/runwire/runwire/agent"
	"github.com/runwire/runwire/sessions"
	"github.com/runwire/runwire/store"
	"github.com/runwire/runwire/tasks"
)

// remember gives a call's run what was said in its session before and the notes
// about its user, and has what it says and uses written when it ends. The
// caller calls end.
func (d *durable) remember(ctx context.Context, asked *agent.Request) (end func(), err error) {
	answering, err := d.tasks.Runner.Find(asked.Agent)
	if err != nil {
		return nil, err
	}
	if strings.IndexByte(asked.UserID, 0) >= 0 || strings.IndexByte(asked.SessionID, 0) >= 0 {
		return nil, store.ErrInvalid // before it costs anything that could not be accounted for
	}
	fresh := asked.SessionID == ""
	if asked.RunID, err = agent.NewID("run_"); err != nil {
		return nil, err
	}
	if fresh {
		if asked.SessionID, err = agent.NewID("sess_"); err != nil {
			return nil, err
		}
	}
	key := sessions.Key{Tenant: tenant(ctx), ID: asked.SessionID, User: asked.UserID, Owner: asked.RunID}
	var session *sessions.Session
	switch {
	case answering.HistoryTokens == 0:
	case fresh:
		session = d.sessions.Fresh(key)
	default:
		if session, err = d.sessions.Open(ctx, key, tasks.Window(&answering)); err != nil {
			return nil, named("session", asked.SessionID, err)
		}
		tasks.Tell(asked, session)
	}
	asked.Allowance = d.spending.allowance(key.Tenant, key.User, keyName(ctx))
	asked.Memory = notesOf(d.memories, d.cfg.File.Memory.MaxPerUser)(key.Tenant, key.User, key.ID)
	asked.Ended = func(run *agent.Run) { d.settle(ctx, key, session, run) }
	return func() {
		if session != nil {
			_ = session.Close(context.WithoutCancel(ctx)) // else it runs out
		}
	}, nil
}

// settle writes what a call's run has said and used. The run has ended all the
// same when it cannot.
func (d *durable) settle(ctx context.Context, key sessions.Key, session *sessions.Session, run *agent.Run) {
	rows := tasks.UsageRows(key.Tenant, key.User, run.ID(), run.Calls())
	if session == nil {
		_ = d.ledger.write(ctx, nil, rows) // without a turn nothing is lost
		return
	}
	turn, err := session.Turn(run.ID(), run.Turn())
	if err == nil {
		err = d.ledger.write(ctx, turn, rows)
	}
	if err != nil {
		d.log.WarnContext(ctx, "session has gone on without this run",
			slog.String("run_id", run.ID()), slog.String("session_id", key.ID), slog.Any("error", err))
	}
}

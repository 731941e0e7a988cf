package tasks

import (
	"github.com/runwire/runwire/agent"
	"github.com/runwire/runwire/sessions"
)

// Window is how much of its session an agent's run is told.
func Window(answering *agent.Agent) sessions.Window {
	return sessions.Window{Tokens: answering.HistoryTokens, Summarized: len(answering.SummaryModels) > 0}
}

// Tell gives a run what was said in its session before.
func Tell(asked *agent.Request, session *sessions.Session) {
	asked.History, asked.Older, asked.Summaries = session.History, session.Older, session
}

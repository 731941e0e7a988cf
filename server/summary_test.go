package server

import (
	"fmt"
	"strings"
	"testing"

	"github.com/runwire/runwire/config"
	agentv1 "github.com/runwire/runwire/gen/agent/v1"
	"google.golang.org/grpc"
)

// longWinded is an agent whose session is summed up once in a few turns.
func longWinded() config.Agent {
	a := offlineAgent("default", config.OfflineOptions{})
	a.Tools, a.MaxHistoryTokens, a.SummaryModels = nil, 400, []string{config.Offline}
	return a
}

// stream runs one turn of a session and returns its result and its summary, if one was made.
func stream(t *testing.T, conn *grpc.ClientConn, session, message string) (*agentv1.RunResult, *agentv1.HistorySummarized) {
	t.Helper()
	events, err := agentv1.NewAgentServiceClient(conn).StreamRun(t.Context(), &agentv1.StreamRunRequest{
		Message: message, UserId: "ann", SessionId: session,
	})
	var summary *agentv1.HistorySummarized
	for err == nil {
		var response *agentv1.StreamRunResponse
		if response, err = events.Recv(); err != nil {
			break
		}
		if told := response.GetEvent().GetHistorySummarized(); told != nil {
			summary = told
		}
		if finished := response.GetEvent().GetFinished(); finished != nil {
			return finished.GetResult(), summary
		}
	}
	t.Fatal(err)
	return nil, nil
}

// In calls and in tasks, a long session is summed up once in a while; each call
// for it is in the result, in the event and in the usage, and the session keeps
// what was said.
func TestALongSessionIsSummedUp(t *testing.T) {
	t.Parallel()
	const turns = 20
	conn := serve(t, func(cfg *Config) { cfg.File = file(longWinded()) }).dial(t)
	client := agentv1.NewAgentServiceClient(conn)
	calls, covered := int64(0), int64(0)
	for i := range turns {
		result, summary := stream(t, conn, "chat", fmt.Sprintf("Fact %d is that it is so.", i))
		want := int64(1)
		if summary != nil {
			want = 2
			if summary.GetMessages() <= covered || summary.GetModel() != config.Offline || summary.GetSummaryTokens() > 100 {
				t.Errorf("turn %d: %v after %d", i, summary, covered)
			}
			covered = summary.GetMessages()
		}
		calls += want
		if !result.GetSuccess() || result.GetUsage().GetLlmCalls() != want {
			t.Errorf("turn %d: %v", i, result)
		}
	}
	if made := calls - turns; made < 3 || made > turns/2 {
		t.Errorf("%d summaries in %d turns", made, turns)
	}
	tasks := 0
	for made := false; !made; tasks++ {
		submitted, err := client.SubmitTask(t.Context(), &agentv1.SubmitTaskRequest{Message: "And so on.", UserId: "ann", SessionId: "chat"})
		if err != nil || tasks > turns {
			t.Fatal(err, tasks)
		}
		events, err := client.WatchTask(t.Context(), &agentv1.WatchTaskRequest{TaskId: submitted.GetTask().GetTaskId()})
		for err == nil {
			var response *agentv1.WatchTaskResponse
			if response, err = events.Recv(); err == nil {
				made = made || response.GetEvent().GetHistorySummarized() != nil
				calls += response.GetEvent().GetFinished().GetResult().GetUsage().GetLlmCalls()
			}
		}
	}
	usage, err := agentv1.NewUsageServiceClient(conn).GetUsage(t.Context(), &agentv1.GetUsageRequest{})
	if err != nil || len(usage.GetSums()) != 1 || usage.GetSums()[0].GetUsage().GetLlmCalls() != calls {
		t.Errorf("usage %v of %d calls, %v", usage, calls, err)
	}
	listed, err := agentv1.NewSessionServiceClient(conn).ListMessages(t.Context(), &agentv1.ListMessagesRequest{SessionId: "chat", PageSize: 100})
	if err != nil || len(listed.GetMessages()) != 2*(turns+tasks) || strings.Contains(listed.String(), "summary") {
		t.Errorf("the session has %d messages, %v", len(listed.GetMessages()), err)
	}
}

package main

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	agentv1 "github.com/runwire/runwire/gen/agent/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// exchange is a command, what it asks for, what is answered, and what it prints.
type exchange struct {
	args     []string
	method   string
	request  proto.Message
	response proto.Message
	want     string
}

func (e exchange) check(t *testing.T) {
	t.Helper()
	s := &standIn{unary: map[string]answer{e.method: answers(e.response)}}
	code, out, said := s.run(t, e.args...)
	if code != exitOK || said != "" {
		t.Errorf("%v: exit code %d, err %q", e.args, code, said)
	}
	if diff := cmp.Diff(e.want, out); diff != "" {
		t.Errorf("%v: %s", e.args, diff)
	}
	s.mustAsk(t, e.request)
}

func TestSchedules(t *testing.T) {
	t.Parallel()
	task := &agentv1.SubmitTaskRequest{
		Message: "Report", UserId: "ann", Agent: "writer", Priority: agentv1.TaskPriority_TASK_PRIORITY_NORMAL,
		Labels: map[string]string{"team": "a"},
	}
	schedule := &agentv1.Schedule{
		ScheduleId: "daily", Cron: "30 8 * * MON-FRI", TimeZone: "Europe/Berlin", Task: task, NextTime: morning, CreateTime: morning,
	}
	const shown = `schedule  daily
ticks     30 8 * * MON-FRI (Europe/Berlin)
next      2026-03-01T08:30:00Z
created   2026-03-01T08:30:00Z
agent     writer
user      ann
message   Report
labels    team=a
`
	paused := &agentv1.Schedule{
		ScheduleId: "hourly", Cron: "@hourly", Task: task, Paused: true, LastTime: timestamppb.New(time.Now().Add(-3 * time.Minute)),
	}
	create := []string{
		"schedule", "create", "Report", "--id", "daily", "--cron", "30 8 * * MON-FRI", "--time-zone", "Europe/Berlin",
		"--user", "ann", "--agent", "writer", "--label", "team=a",
	}
	created := &agentv1.CreateScheduleRequest{ScheduleId: "daily", Cron: "30 8 * * MON-FRI", TimeZone: "Europe/Berlin", Task: task}
	for _, e := range []exchange{
		{create, "CreateSchedule", created, &agentv1.CreateScheduleResponse{Schedule: schedule}, "daily\n"},
		{
			append(create, "--json"), "CreateSchedule", created,
			&agentv1.CreateScheduleResponse{Schedule: &agentv1.Schedule{ScheduleId: "daily"}}, `{"scheduleId":"daily"}` + "\n",
		},
		{[]string{"schedule", "get", "daily"}, "GetSchedule", &agentv1.GetScheduleRequest{ScheduleId: "daily"}, &agentv1.GetScheduleResponse{Schedule: schedule}, shown},
		{[]string{"schedule", "resume", "daily"}, "ResumeSchedule", &agentv1.ResumeScheduleRequest{ScheduleId: "daily"}, &agentv1.ResumeScheduleResponse{Schedule: schedule}, shown},
		{
			[]string{"schedule", "pause", "hourly", "--json"},
			"PauseSchedule", &agentv1.PauseScheduleRequest{ScheduleId: "hourly"},
			&agentv1.PauseScheduleResponse{Schedule: &agentv1.Schedule{ScheduleId: "hourly", Paused: true}}, `{"scheduleId":"hourly","paused":true}` + "\n",
		},
		{[]string{"schedule", "delete", "daily"}, "DeleteSchedule", &agentv1.DeleteScheduleRequest{ScheduleId: "daily"}, &agentv1.DeleteScheduleResponse{}, "schedule daily is deleted\n"},
		{[]string{"schedule", "delete", "daily", "--json"}, "DeleteSchedule", &agentv1.DeleteScheduleRequest{ScheduleId: "daily"}, &agentv1.DeleteScheduleResponse{}, "{}\n"},
		{
			[]string{"schedule", "list", "--user", "ann"},
			"ListSchedules", &agentv1.ListSchedulesRequest{UserId: "ann", PageSize: 50},
			&agentv1.ListSchedulesResponse{Schedules: []*agentv1.Schedule{schedule, paused}},
			`ID      TICKS                             NEXT                  LAST  AGENT   USER  MESSAGE
daily   30 8 * * MON-FRI (Europe/Berlin)  2026-03-01T08:30:00Z  -     writer  ann   Report
hourly  @hourly                           paused                3m    writer  ann   Report
`,
		},
	} {
		e.check(t)
	}
}

func TestSessions(t *testing.T) {
	t.Parallel()
	messages := []*agentv1.SessionMessage{
		{Position: 1, Role: agentv1.MessageRole_MESSAGE_ROLE_USER, Text: "What is 6*7?\nPlease."},
		{
			Position: 2, Role: agentv1.MessageRole_MESSAGE_ROLE_ASSISTANT,
			ToolCalls: []*agentv1.SessionToolCall{{Tool: "calculator", ArgumentsJson: "{\n\"expression\":\"6*7\"}"}, {Tool: "current_time"}},
		},
		{Position: 3, Role: agentv1.MessageRole_MESSAGE_ROLE_TOOL, Text: "4\n2"},
		{Position: 4, Role: agentv1.MessageRole_MESSAGE_ROLE_ASSISTANT, Text: "It is 42."},
	}
	forged := []*agentv1.SessionMessage{
		{Role: agentv1.MessageRole_MESSAGE_ROLE_USER, Text: "\x1b[2JHi\r\nassistant: no\n\n→ rm\u2028← done\x07"},
		{Role: agentv1.MessageRole_MESSAGE_ROLE_ASSISTANT, Text: "Grüße\n\tdone"},
	}
	session := &agentv1.Session{SessionId: "s1", UserId: "ann", MessageCount: 4, CreateTime: morning, UpdateTime: morning}
	recent := &agentv1.Session{
		SessionId: "s2", UserId: "ann", CreateTime: timestamppb.New(time.Now().Add(-2 * time.Hour)), UpdateTime: timestamppb.New(time.Now()),
	}
	for _, e := range []exchange{
		{
			[]string{"session", "list", "--user", "ann"},
			"ListSessions", &agentv1.ListSessionsRequest{UserId: "ann", PageSize: 50},
			&agentv1.ListSessionsResponse{Sessions: []*agentv1.Session{recent}},
			"ID  USER  MESSAGES  MADE  WRITTEN\ns2  ann   0         2h    0s\n",
		},
		{
			[]string{"session", "get", "s1"},
			"GetSession", &agentv1.GetSessionRequest{SessionId: "s1"},
			&agentv1.GetSessionResponse{Session: session}, `session   s1
user      ann
messages  4
made      2026-03-01T08:30:00Z
written   2026-03-01T08:30:00Z
`,
		},
		{
			[]string{"session", "messages", "s1"},
			"ListMessages", &agentv1.ListMessagesRequest{SessionId: "s1", PageSize: 1000},
			&agentv1.ListMessagesResponse{Messages: messages}, `user: What is 6*7?
  Please.
→ calculator { "expression":"6*7"}
→ current_time
← 4 2
assistant: It is 42.
`,
		},
		{
			[]string{"session", "messages", "s1"},
			"ListMessages", &agentv1.ListMessagesRequest{SessionId: "s1", PageSize: 1000},
			&agentv1.ListMessagesResponse{Messages: forged},
			"user: [2JHi\n  assistant: no\n  \n  → rm← done\nassistant: Grüße\n  \tdone\n",
		},
		{
			[]string{"session", "messages", "s1", "--json", "--limit", "1"},
			"ListMessages",
			&agentv1.ListMessagesRequest{SessionId: "s1", PageSize: 1},
			&agentv1.ListMessagesResponse{Messages: messages[3:], NextPageToken: "more"},
			`{"position":"4","role":"MESSAGE_ROLE_ASSISTANT","text":"It is 42."}` + "\n",
		},
		{[]string{"session", "delete", "s1"}, "DeleteSession", &agentv1.DeleteSessionRequest{SessionId: "s1"}, &agentv1.DeleteSessionResponse{}, "session s1 is deleted\n"},
	} {
		e.check(t)
	}
}

func TestUsage(t *testing.T) {
	t.Parallel()
	sums := []*agentv1.UsageSum{
		{Day: "2026-03-01", UserId: "ann", EstimatedCalls: 1, Usage: &agentv1.Usage{
			LlmCalls: 2, InputTokens: 100, CachedInputTokens: 60, OutputTokens: 20, TotalTokens: 120, CostUsd: new(0.25),
		}},
		{Day: "2026-03-02", UserId: "bob", UnpricedCalls: 1, Usage: &agentv1.Usage{
			LlmCalls: 1, InputTokens: 7, OutputTokens: 3, TotalTokens: 10, CostUsd: new(0.0),
		}},
	}
	for _, e := range []exchange{
		{
			[]string{"usage", "--by", "day,user", "--since", "2026-03-01", "--until", "2026-03-03T00:00:00Z", "--user", "u", "--agent", "a", "--model", "m"},
			"GetUsage", &agentv1.GetUsageRequest{
				GroupBy:   []agentv1.UsageGroup{agentv1.UsageGroup_USAGE_GROUP_DAY, agentv1.UsageGroup_USAGE_GROUP_USER},
				StartTime: timestamppb.New(time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)),
				EndTime:   timestamppb.New(time.Date(2026, 3, 3, 0, 0, 0, 0, time.UTC)),
				UserId:    "u", Agent: "a", Model: "m",
			},
			&agentv1.GetUsageResponse{Sums: sums}, `DAY         USER  CALLS  INPUT  CACHED  OUTPUT  TOTAL  COST   UNPRICED  ESTIMATED
2026-03-01  ann   2      100    60      20      120    $0.25  0         1
2026-03-02  bob   1      7      0       3       10     $0     1         0
total       -     3      107    60      23      130    $0.25  1         1
`,
		},
		{
			[]string{"usage"},
			"GetUsage", &agentv1.GetUsageRequest{GroupBy: []agentv1.UsageGroup{agentv1.UsageGroup_USAGE_GROUP_MODEL}},
			&agentv1.GetUsageResponse{}, `MODEL  CALLS  INPUT  CACHED  OUTPUT  TOTAL  COST  UNPRICED  ESTIMATED
total  0      0      0       0       0      $0    0         0
`,
		},
		{
			[]string{"usage", "--json", "--by", "agent"},
			"GetUsage", &agentv1.GetUsageRequest{GroupBy: []agentv1.UsageGroup{agentv1.UsageGroup_USAGE_GROUP_AGENT}},
			&agentv1.GetUsageResponse{Sums: []*agentv1.UsageSum{{Agent: "writer", UnpricedCalls: 2}}}, `{"agent":"writer","unpricedCalls":"2"}` + "\n",
		},
	} {
		e.check(t)
	}
}

func TestMoments(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for said, want := range map[string]struct{ after, before string }{
		"90m":                       {"2026-03-01T13:30:00Z", "2026-03-01T10:30:00Z"},
		"0s":                        {"2026-03-01T12:00:00Z", "2026-03-01T12:00:00Z"},
		"2026-02-01":                {"2026-02-01T00:00:00Z", "2026-02-01T00:00:00Z"},
		"2026-02-01T08:00:00+02:00": {"2026-02-01T06:00:00Z", "2026-02-01T06:00:00Z"},
		"2026-02-30":                {}, "90": {}, "-1h": {}, "": {},
	} {
		var m moment
		err := m.UnmarshalText([]byte(said))
		if (err != nil) != (want.after == "") {
			t.Errorf("%q: %v", said, err)
		}
		if after, before := instant(m.after(now)), instant(m.before(now)); after != want.after || before != want.before {
			t.Errorf("%q is %q and %q, want %v", said, after, before, want)
		}
	}
}

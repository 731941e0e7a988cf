package model

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestOfflineCallsTools(t *testing.T) {
	t.Parallel()
	expression := func(e string) ToolCall { return ToolCall{Name: "calculator", Arguments: `{"expression":"` + e + `"}`} }
	clock := func(arguments string) ToolCall { return ToolCall{Name: "current_time", Arguments: arguments} }
	tests := []struct {
		text string
		want []ToolCall
	}{
		{"What is 2+2*3?", []ToolCall{expression("2+2*3")}},
		{"17% of 4,000", []ToolCall{expression("17/100*4000")}},
		{"What is 200 + 15%?", []ToolCall{expression("200+15/100")}},
		{"17 % 5", []ToolCall{expression("17%5")}},
		{"(1 + 2.5) * -3.", []ToolCall{expression("(1+2.5)*-3")}},
		{"(I have 2+2)", []ToolCall{expression("2+2")}},
		{"3 × 4 ÷ 2 − 1 and 2 ** 8", []ToolCall{expression("3*4/2-1"), expression("2^8")}},
		{"4 plus 5 times 6 divided by 3", []ToolCall{expression("4+5*6/3")}},
		{"1,234,567.5*2", []ToolCall{expression("1234567.5*2")}},
		{"sum 1+1, 2+2; 3+3", []ToolCall{expression("1+1"), expression("2+2"), expression("3+3")}},
		{"2 + 2 +", []ToolCall{expression("2+2")}},
		{"((2+3", []ToolCall{expression("2+3")}},
		{"-5 + 3", []ToolCall{expression("-5+3")}},
		{"What time is it?", []ToolCall{clock(`{}`)}},
		{"what TIME is it in Europe/Berlin?", []ToolCall{clock(`{"time_zone":"Europe/Berlin"}`)}},
		{"Current time in America/Argentina/Buenos_Aires, please", []ToolCall{clock(`{"time_zone":"America/Argentina/Buenos_Aires"}`)}},
		{"What day is it, UTC?", []ToolCall{clock(`{"time_zone":"UTC"}`)}},
		{"What is 6*7, and what time is it?", []ToolCall{expression("6*7"), clock(`{}`)}},
		{"Remember that I like \"tea\".", []ToolCall{{Name: "memory_save", Arguments: `{"text":"I like \"tea\"."}`}}},
		{"Hi. Please remember: milk", []ToolCall{{Name: "memory_save", Arguments: `{"text":"milk"}`}}},
		{"What do you remember about tea?", []ToolCall{{Name: "memory_search", Arguments: `{"query":"tea"}`}}},
		{"What do you know about me?", []ToolCall{{Name: "memory_search", Arguments: `{"query":"me"}`}}},
		{"What do you remember?", []ToolCall{{Name: "memory_search", Arguments: `{"query":"What do you remember?"}`}}},

		{"I can't remember a thing", nil},
		{"Remember", nil},
		{"Hello!", nil},
		{"", nil},
		{"42", nil},
		{"On 2026-01-15 at 10:30-11:15, version 1.2.3-4, the 3rd+4th", nil},
		{"a 20% rise, 5 km, items 1, 2 and 3", nil},
		{"+++ --- ((( )))", nil},
		{"π+√2 \xff+\xfe", nil},
	}
	for _, tt := range tests {
		t.Run(tt.text, func(t *testing.T) {
			t.Parallel()
			var heard spoken
			reply, err := newTestOffline(t, OfflineOptions{}).Generate(t.Context(), asked(tt.text), heard.speak)
			if err != nil {
				t.Fatal(err)
			}
			checkReply(t, reply, err)
			var got []ToolCall
			for _, call := range reply.ToolCalls {
				got = append(got, ToolCall{Name: call.Name, Arguments: call.Arguments})
			}
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("calls %+v, want %+v", got, tt.want)
			}
			if (tt.want == nil) != (heard.text.Len() > 0) {
				t.Errorf("said %q beside %d calls", heard.text.String(), len(got))
			}
		})
	}
}

func TestOfflineAsksAgents(t *testing.T) {
	t.Parallel()
	ask := func(name, message string) ToolCall {
		return ToolCall{Name: AgentPrefix + name, Arguments: `{"message":"` + message + `"}`}
	}
	sum := ToolCall{Name: "calculator", Arguments: `{"expression":"1+1"}`}
	for text, want := range map[string][]ToolCall{
		"Ask researcher to compute 6*7.":                      {ask("researcher", "compute 6*7")},
		"What is 1+1? Then ask RESEARCHER to compute 6*7":     {sum, ask("researcher", "compute 6*7")},
		"Ask writer to rhyme, and ask researcher to look up.": {ask("writer", "rhyme"), ask("researcher", "look up")},
		"Ask writer to ask researcher to look":                {ask("researcher", "look")},
		"Ask writer to 1+1":                                   {ask("writer", "1+1")},
		"Ask writer to rhyme. Then ask writer to sing, and then ask writer to stop": {
			ask("writer", "rhyme"), ask("writer", "sing"), ask("writer", "stop"),
		},
		"Ask someone to compute 1+1": {sum},
		"A task writer to be?":       nil,
		"Ask writer to ":             nil,
	} {
		req := asked(text)
		req.Tools = []Tool{{Name: "agent.researcher"}, {Name: "agent.writer"}, {Name: "calculator"}}
		reply, err := newTestOffline(t, OfflineOptions{}).Generate(t.Context(), req, func(Delta) {})
		if err != nil {
			t.Fatal(err)
		}
		var got []ToolCall
		for _, call := range reply.ToolCalls {
			got = append(got, ToolCall{Name: call.Name, Arguments: call.Arguments})
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%q: calls %+v, want %+v", text, got, want)
		}
	}
}

func TestOfflineCallsOnlyWhatItIsGiven(t *testing.T) {
	t.Parallel()
	req := asked("What is 6*7, and what time is it?")
	req.Tools = []Tool{{Name: "current_time"}}
	reply, err := newTestOffline(t, OfflineOptions{}).Generate(t.Context(), req, func(Delta) {})
	if err != nil || len(reply.ToolCalls) != 1 || reply.ToolCalls[0].Name != "current_time" {
		t.Errorf("calls %+v, error %v", reply.ToolCalls, err)
	}
}

func TestOfflineAnswersWithTheToolsResults(t *testing.T) {
	t.Parallel()
	m := newTestOffline(t, OfflineOptions{})
	req := asked("What is 6*7, and 1/0?")
	reply, err := m.Generate(t.Context(), req, func(Delta) {})
	if err != nil || len(reply.ToolCalls) != 2 {
		t.Fatalf("calls %+v, error %v", reply.ToolCalls, err)
	}
	req.Messages = append(req.Messages,
		Message{Role: RoleAssistant, ToolCalls: reply.ToolCalls},
		Message{Role: RoleTool, ToolCallID: reply.ToolCalls[0].ID, Text: "42"},
		Message{Role: RoleTool, ToolCallID: reply.ToolCalls[1].ID, Text: "error: division by\nzero \xff"},
	)
	var heard spoken
	reply, err = m.Generate(t.Context(), req, heard.speak)
	if err != nil || reply.Stop != StopEnd {
		t.Fatalf("reply %+v, error %v", reply, err)
	}
	const want = "This is Runwire's offline stand-in; no model was asked. calculator says: 42 calculator says: error: division by\nzero \uFFFD"
	if got := heard.text.String(); got != want {
		t.Errorf("said %q\nwant %q", got, want)
	}
	for _, d := range heard.deltas {
		if len(strings.Fields(d.Text)) != 1 {
			t.Errorf("delta %q is not one word", d.Text)
		}
	}
	// The next question of the same conversation is a new one.
	req.Messages = append(req.Messages, Message{Role: RoleAssistant, Text: want}, Message{Role: RoleUser, Text: "2+2"})
	next, err := m.Generate(t.Context(), req, func(Delta) {})
	if err != nil || len(next.ToolCalls) != 1 || next.ToolCalls[0].ID == req.Messages[1].ToolCalls[0].ID {
		t.Errorf("calls %+v, error %v", next.ToolCalls, err)
	}
}

func TestOfflineSaysWhatItIsAndIsNoEcho(t *testing.T) {
	t.Parallel()
	req := asked(strings.Repeat("ü", 9000))
	var heard spoken
	if _, err := newTestOffline(t, OfflineOptions{}).Generate(t.Context(), req, heard.speak); err != nil {
		t.Fatal(err)
	}
	got := heard.text.String()
	if !strings.Contains(got, "offline stand-in") || !strings.Contains(got, "üüü") || len(got) > 500 || !utf8.ValidString(got) {
		t.Errorf("said %d bytes: %q", len(got), got)
	}
}

// Whatever is asked, the reply keeps its contract, arguments are JSON, and what
// is said is valid text of single words.
func FuzzOffline(f *testing.F) {
	for _, seed := range []string{"What is 2+2*3?", "17% of 4,000", "((1)+(2))", "what time is it in a/b", "remember \xff", "-(-1,000.5)**2"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var heard spoken
		m, err := NewOffline(OfflineOptions{})
		if err != nil {
			t.Fatal(err)
		}
		reply, err := m.Generate(t.Context(), asked(text), heard.speak)
		checkReply(t, reply, err)
		if len(reply.ToolCalls) > maxExpressions+3 {
			t.Errorf("%d calls", len(reply.ToolCalls))
		}
		for _, call := range reply.ToolCalls {
			if !json.Valid([]byte(call.Arguments)) || len(call.Arguments) > 6*len(text)+100 {
				t.Errorf("arguments %s", call.Arguments)
			}
		}
		if !utf8.ValidString(heard.text.String()) {
			t.Errorf("said %q", heard.text.String())
		}
	})
}

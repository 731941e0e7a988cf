package model

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
)

// offlineRule says when the offline model calls a tool. arguments reads what a
// user said and returns one object for each call that it asks for.
type offlineRule struct {
	tool      string
	arguments func(message string) []map[string]string
}

var offlineRules = [...]offlineRule{
	{"calculator", arithmetic},
	{"current_time", clock},
	{"memory_save", remember},
	{"memory_search", recall},
}

// offlineToolCalls are what the rules make of the user's last message; nil
// when it is not the user's turn. The ids are unique in the conversation.
func offlineToolCalls(req *Request) []ToolCall {
	n := len(req.Messages)
	if n == 0 || len(req.Tools) == 0 || req.Messages[n-1].Role != RoleUser {
		return nil
	}
	var calls []ToolCall
	add := func(tool string, arguments map[string]string) {
		encoded, err := json.Marshal(arguments)
		if err != nil { // of strings it cannot be
			return
		}
		id := "call_" + strconv.Itoa(n) + "_" + strconv.Itoa(len(calls)+1)
		calls = append(calls, ToolCall{ID: id, Name: tool, Arguments: string(encoded)})
	}
	message, others := delegations(req.Messages[n-1].Text, req.Tools)
	for _, rule := range offlineRules {
		if !offers(req.Tools, rule.tool) {
			continue
		}
		for _, arguments := range rule.arguments(message) {
			add(rule.tool, arguments)
		}
	}
	for _, other := range others {
		add(other.tool, map[string]string{"message": other.message})
	}
	return calls
}

// delegation is what an agent is asked.
type delegation struct {
	tool, message string
	begin, end    int // of "ask NAME to "
}

// delegations tells what a user asks of the model itself from what it is to ask
// agents, `ask NAME to …`, each up to the next.
func delegations(message string, tools []Tool) (own string, others []delegation) {
	for _, tool := range tools {
		name, ok := strings.CutPrefix(tool.Name, AgentPrefix)
		if !ok {
			continue
		}
		phrase := "ask " + name + " to "
		for from := 0; ; {
			before, _, found := cutFold(message[from:], phrase)
			begin := from + len(before)
			if !found {
				break
			}
			from = begin + len(phrase)
			if begin == 0 || !isLetter(message[begin-1]) {
				others = append(others, delegation{tool: tool.Name, begin: begin, end: from})
			}
		}
	}
	slices.SortFunc(others, func(a, b delegation) int { return a.begin - b.begin })
	own = message
	for i := range slices.Backward(others) {
		const between = " ,;.\n"
		text := strings.TrimRight(own[others[i].end:], between)
		for _, word := range [...]string{" then", " Then", " and"} {
			text = strings.TrimRight(strings.TrimSuffix(text, word), between)
		}
		others[i].message = text
		own = own[:others[i].begin]
	}
	return own, slices.DeleteFunc(others, func(d delegation) bool { return d.message == "" })
}

func offers(tools []Tool, name string) bool {
	for i := range tools {
		if tools[i].Name == name {
			return true
		}
	}
	return false
}

func clock(message string) []map[string]string {
	lower := strings.ToLower(message)
	for _, question := range [...]string{"what time", "time is it", "current time", "the time in", "what day", "what date"} {
		if !strings.Contains(lower, question) {
			continue
		}
		if zone := timeZone(message); zone != "" {
			return []map[string]string{{"time_zone": zone}}
		}
		return []map[string]string{{}}
	}
	return nil
}

// timeZone is the first word that is written like an IANA name.
func timeZone(message string) string {
	for word := range strings.FieldsSeq(message) {
		word = strings.Trim(word, ".,;:?!()\"'")
		area, place, ok := strings.Cut(word, "/")
		if word == "UTC" || ok && area != "" && place != "" && isLetter(area[0]) && isLetter(place[0]) {
			return word
		}
	}
	return ""
}

func remember(message string) []map[string]string {
	if recall(message) != nil {
		return nil
	}
	before, rest, ok := cutFold(message, "remember")
	before = strings.ToLower(strings.TrimSpace(before))
	if !ok || before != "" && !strings.HasSuffix(before, "please") && isLetter(before[len(before)-1]) {
		return nil // "I can't remember" asks for nothing
	}
	rest = strings.TrimPrefix(strings.TrimLeft(rest, " :,"), "that ")
	if rest = strings.TrimSpace(rest); rest == "" {
		return nil
	}
	return []map[string]string{{"text": rest}}
}

func recall(message string) []map[string]string {
	for _, question := range [...]string{"do you remember about", "do you know about", "do you remember"} {
		_, rest, ok := cutFold(message, question)
		if !ok {
			continue
		}
		query := strings.Trim(rest, " ?!.")
		if query == "" {
			query = message
		}
		return []map[string]string{{"query": query}}
	}
	return nil
}

// cutFold is strings.Cut in whatever case.
func cutFold(message, phrase string) (before, after string, found bool) {
	for i := 0; i+len(phrase) <= len(message); i++ {
		if end := i + len(phrase); strings.EqualFold(message[i:end], phrase) {
			return message[:i], message[end:], true
		}
	}
	return message, "", false
}

// offlineAnswer says what the tools said, or that nobody is there to ask.
func offlineAnswer(req *Request) string {
	var b strings.Builder
	b.WriteString("This is Runwire's offline stand-in; no model was asked.")
	outputs := toolOutputs(req.Messages)
	for _, message := range outputs {
		name := "The tool"
		if call := callOf(req.Messages, message.ToolCallID); call != nil {
			name = call.Name
		}
		b.WriteString(" " + name + " says: " + message.Text)
	}
	if len(outputs) == 0 {
		b.WriteString(" You said: " + quoteStart(lastText(req.Messages)))
		b.WriteString(". It only does arithmetic, tells the time and the like; configure a provider for a real answer.")
	}
	return strings.ToValidUTF8(b.String(), "\uFFFD")
}

// toolOutputs are the messages of tools that end the conversation.
func toolOutputs(messages []Message) []Message {
	i := len(messages)
	for i > 0 && messages[i-1].Role == RoleTool {
		i--
	}
	return messages[i:]
}

func callOf(messages []Message, id string) *ToolCall {
	for _, message := range slices.Backward(messages) {
		for j := range message.ToolCalls {
			if call := &message.ToolCalls[j]; call.ID == id {
				return call
			}
		}
	}
	return nil
}

func lastText(messages []Message) string {
	if len(messages) == 0 {
		return ""
	}
	return messages[len(messages)-1].Text
}

// quoteStart quotes text, cut to a line's length: a stand-in is no echo.
func quoteStart(text string) string {
	const most = 60
	n := 0
	for i := range text {
		if n == most {
			return strconv.Quote(text[:i] + "…")
		}
		n++
	}
	return strconv.Quote(text)
}

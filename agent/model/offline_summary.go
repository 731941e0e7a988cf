package model

import (
	"encoding/json"
	"strings"
)

// offlineSummary is what the stand-in makes of a request for a summary: the
// first words of each of the last things that the user has said.
func offlineSummary(req *Request) (summary string, asked bool) {
	const opening, parting = "The user's first words so far: ", "; "
	const most, mostWords = 12, 6
	if !strings.HasPrefix(req.System, summaryInstructions) {
		return "", false
	}
	var said []string
	for line := range strings.Lines(lastText(req.Messages)) {
		who, quoted, _ := strings.Cut(line, ": ")
		var text string
		if json.Unmarshal([]byte(quoted), &text) != nil {
			continue
		}
		switch who {
		case summaryRole:
			said = append(said, strings.Split(strings.TrimPrefix(text, opening), parting)...)
		case string(RoleUser):
			words := strings.Fields(text)
			said = append(said, strings.Join(words[:min(mostWords, len(words))], " "))
		}
	}
	return opening + strings.Join(said[max(0, len(said)-most):], parting), true
}

package model

// EstimateTokens is about what common tokenizers make of a message, its
// framing included. On prose and code it is a tenth high.
func EstimateTokens(message Message) int64 {
	sum := int64(messageFraming) + guessTokens(message.Notes) + guessTokens(message.Text)
	for _, call := range message.ToolCalls {
		sum += toolFraming + guessTokens(call.Name) + guessTokens(call.Arguments)
	}
	return sum
}

// EstimateInput is about what common tokenizers make of a request. On prose and
// code it is a tenth high; what a provider may bill at most is InputTokens.
func EstimateInput(req *Request) int64 { return requestTokens(req, guessTokens) }

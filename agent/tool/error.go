package tool

// Error is a tool call that failed.
type Error struct {
	Type ErrorType
	// Message is told to the model and shown to the caller. It is valid UTF-8
	// of at most MaxMessage bytes.
	Message string
	// Err is the cause, for the log alone: of a panic, its value and stack. It
	// may be nil.
	Err error
}

// Error says how the call failed and why. It is for the log, not for callers.
func (e *Error) Error() string {
	if e.Err == nil {
		return "tool call: " + string(e.Type) + ": " + e.Message
	}
	return "tool call: " + string(e.Type) + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

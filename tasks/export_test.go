package tasks

import agentv1 "github.com/runwire/runwire/gen/agent/v1"

// ParseEvent is the event of an entry of a task's log.
func ParseEvent(payload []byte) (*agentv1.RunEvent, error) {
	e, err := parseEntry(payload)
	return e.event, err
}

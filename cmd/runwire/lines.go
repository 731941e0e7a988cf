package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	agentv1 "github.com/runwire/runwire/gen/agent/v1"
	"google.golang.org/protobuf/encoding/protojson"
)

// lines shows a run to a program: protobuf's JSON, an event a line.
type lines struct {
	out  io.Writer
	line bytes.Buffer
}

// show implements view.
func (l *lines) show(event *agentv1.RunEvent) error {
	text, err := protojson.Marshal(event)
	if err != nil {
		return fmt.Errorf("write an event as JSON: %w", err)
	}
	l.line.Reset()
	if err := json.Compact(&l.line, text); err != nil { // protojson's spaces differ from build to build
		return fmt.Errorf("write an event as JSON: %w", err)
	}
	l.line.WriteByte('\n')
	_, err = l.out.Write(l.line.Bytes())
	return err
}

// close implements view.
func (*lines) close() {}

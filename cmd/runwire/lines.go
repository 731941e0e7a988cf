package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	agentv1 "github.com/runwire/runwire/gen/agent/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// lines shows a run to a program: protobuf's JSON, an event a line.
type lines struct{ out io.Writer }

// show implements view.
func (l *lines) show(event *agentv1.RunEvent) error { return writeLine(l.out, event) }

// close implements view.
func (*lines) close() {}

// writeLine writes a message as a line of protobuf's JSON.
func writeLine(out io.Writer, message proto.Message) error {
	text, err := protojson.Marshal(message)
	if err != nil {
		return fmt.Errorf("write JSON: %w", err)
	}
	var line bytes.Buffer
	if err := json.Compact(&line, text); err != nil { // protojson's spaces differ from build to build
		return fmt.Errorf("write JSON: %w", err)
	}
	line.WriteByte('\n')
	_, err = out.Write(line.Bytes())
	return err
}

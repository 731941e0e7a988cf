package tool

import "context"

// Source has tools that come and go, such as those of a server that may be
// down. Safe for concurrent use.
type Source interface {
	// Tools are those that can be called now, each name once. It does not wait.
	// The slice is shared and must not be changed; a tool in it stays callable,
	// and fails if it has gone meanwhile.
	Tools() []*Tool
	// Find is a tool of this source by its name, for which it waits a moment, or
	// until ctx is done, if what has it comes back. Its error is for models, and
	// says why the tool is not there; nil and no tool is one that is not its own.
	Find(ctx context.Context, name string) (*Tool, error)
}

package tool

// Source has tools that come and go, such as those of a server that may be
// down. Safe for concurrent use.
type Source interface {
	// Tools are those that can be called now, each name once. It does not wait.
	// The slice is shared and must not be changed; a tool in it stays callable,
	// and fails if it has gone meanwhile.
	Tools() []*Tool
}

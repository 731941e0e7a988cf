package tool

import "time"

// Builtin makes the built-in tool of that name; there may be none.
func Builtin(name string) (*Tool, bool) {
	var (
		def Definition
		fn  Func
	)
	switch name {
	case "calculator":
		def, fn = calculator()
	case "current_time":
		def, fn = currentTime(time.Now)
	case "memory_save":
		def, fn = memorySave()
	case "memory_search":
		def, fn = memorySearch()
	default:
		return nil, false
	}
	t, err := New(def, fn)
	return t, err == nil
}

// BuiltinNames lists the built-in tools, sorted.
func BuiltinNames() []string {
	return []string{"calculator", "current_time", "memory_save", "memory_search"}
}

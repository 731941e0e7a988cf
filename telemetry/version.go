package telemetry

import (
	"runtime/debug"
	"strings"
)

// stamped is set by a release's build:
// -ldflags "-X github.com/runwire/runwire/telemetry.stamped=v1.2.3".
var stamped string //nolint:gochecknoglobals // the linker sets nothing else

// Version is which Runwire this is: the release's version or `devel`, and the
// revision it was built from where the build knew one, as in
// `v1.2.3+1a2b3c4d5e6f` and `devel+1a2b3c4d5e6f.dirty`.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
	return version(stamped, info)
}

func version(release string, info *debug.BuildInfo) string {
	if release == "" {
		release = info.Main.Version
	}
	if release == "" || release == "(devel)" {
		release = "devel"
	}
	settings := map[string]string{}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	revision := settings["vcs.revision"]
	revision = revision[:min(len(revision), 12)]
	// A pseudo-version holds the revision, and `+dirty`, already.
	if revision == "" || strings.Contains(release, revision) {
		return release
	}
	if settings["vcs.modified"] == "true" {
		revision += ".dirty"
	}
	release, _ = strings.CutSuffix(release, "+dirty")
	return release + "+" + revision
}

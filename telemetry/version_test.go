package telemetry

import (
	"runtime/debug"
	"testing"
)

func TestVersion(t *testing.T) {
	t.Parallel()
	const revision = "1a2b3c4d5e6f7a8b9c0d1a2b3c4d5e6f7a8b9c0d"
	for name, test := range map[string]struct {
		stamped, module, revision string
		modified                  bool
		want                      string
	}{
		"nothing known":       {want: "devel"},
		"a plain build":       {module: "(devel)", want: "devel"},
		"a checkout":          {module: "(devel)", revision: revision, want: "devel+1a2b3c4d5e6f"},
		"a changed checkout":  {module: "(devel)", revision: revision, modified: true, want: "devel+1a2b3c4d5e6f.dirty"},
		"an installed module": {module: "v1.2.3", want: "v1.2.3"},
		"a tagged checkout":   {module: "v1.2.3", revision: revision, want: "v1.2.3+1a2b3c4d5e6f"},
		"a changed tag":       {module: "v1.2.3+dirty", revision: revision, modified: true, want: "v1.2.3+1a2b3c4d5e6f.dirty"},
		"a pseudo-version": {
			module: "v0.0.0-20260102030405-1a2b3c4d5e6f+dirty", revision: revision, modified: true,
			want: "v0.0.0-20260102030405-1a2b3c4d5e6f+dirty",
		},
		"a release":      {stamped: "v1.2.3", module: "v0.0.0-20260102030405-1a2b3c4d5e6f", revision: revision, want: "v1.2.3+1a2b3c4d5e6f"},
		"no repository":  {stamped: "v1.2.3", module: "(devel)", want: "v1.2.3"},
		"short revision": {stamped: "v1.2.3", revision: "42", want: "v1.2.3+42"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			info := &debug.BuildInfo{Main: debug.Module{Version: test.module}}
			if test.revision != "" {
				info.Settings = append(info.Settings, debug.BuildSetting{Key: "vcs.revision", Value: test.revision})
			}
			if test.modified {
				info.Settings = append(info.Settings, debug.BuildSetting{Key: "vcs.modified", Value: "true"})
			}
			if got := version(test.stamped, info); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

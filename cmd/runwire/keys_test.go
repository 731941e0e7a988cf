package main

import (
	"crypto/sha256"
	"regexp"
	"strings"
	"testing"

	"github.com/runwire/runwire/config"
)

func TestANewKeyFitsIntoTheFile(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		args []string
		name string // a pattern
		want config.Key
	}{
		{
			name: `^key-[0-9a-f]{8}$`,
			want: config.Key{Tenant: "default", Scopes: []config.Scope{config.ScopeRun, config.ScopeTasks}},
		},
		{
			args: []string{"--name", "chat-backend", "--tenant", "acme", "--scopes", "run,tasks,admin"},
			name: `^chat-backend$`,
			want: config.Key{Tenant: "acme", Scopes: []config.Scope{config.ScopeRun, config.ScopeTasks, config.ScopeAdmin}},
		},
	} {
		code, out, said := runwire(t, "", append([]string{"keys", "new"}, tc.args...)...)
		if code != exitOK || said != "" {
			t.Fatalf("exit code %d, err %q", code, said)
		}
		key := regexp.MustCompile(`(?m)^rw_[a-z0-9]{52}$`).FindString(out)
		if key == "" || strings.Count(out, key) != 1 {
			t.Errorf("no key, or more than one, in\n%s", out)
		}
		_, line, _ := strings.Cut(out, "keys:\n")
		file, err := config.Parse("keys", []byte("agents: {default: {model: offline}}\nkeys:\n"+line),
			func(string) (string, bool) { return "", false }, config.Known{})
		if err != nil {
			t.Fatalf("%v in\n%s", err, line)
		}
		got := file.Keys[0]
		if got.SHA256 != sha256.Sum256([]byte(key)) {
			t.Errorf("the hash is not the key's in\n%s", out)
		}
		if !regexp.MustCompile(tc.name).MatchString(got.Name) || got.Tenant != tc.want.Tenant || len(got.Scopes) != len(tc.want.Scopes) {
			t.Errorf("got %v, want %v", got, tc.want)
		}
	}
}

func TestNoTwoKeysAreTheSame(t *testing.T) {
	t.Parallel()
	if one, other := newKey(), newKey(); one == other {
		t.Errorf("both are %s", one)
	}
}

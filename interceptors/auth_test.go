package interceptors

import (
	"crypto/sha256"
	"strings"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// reason returns the reason in a refusal's details.
func reason(t *testing.T, err error) string {
	t.Helper()
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			return info.GetReason()
		}
	}
	t.Errorf("%v has no reason", err)
	return ""
}

func TestPresentedKey(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		apiKey, authorization []string
		key, reason           string
	}{
		"nothing":                      {},
		"an empty key":                 {apiKey: []string{" "}},
		"x-api-key":                    {apiKey: []string{" k "}, key: "k"},
		"bearer":                       {authorization: []string{"Bearer k"}, key: "k"},
		"bearer in any case":           {authorization: []string{"BEARER k"}, key: "k"},
		"bearer and nothing":           {authorization: []string{"Bearer"}},
		"a key with a space":           {authorization: []string{"Bearer k k"}, key: "k k"},
		"the same key in both":         {apiKey: []string{"k"}, authorization: []string{"Bearer k"}, key: "k"},
		"the same key twice":           {apiKey: []string{"k", "k"}, key: "k"},
		"different keys":               {apiKey: []string{"k"}, authorization: []string{"Bearer l"}, reason: "API_KEY_AMBIGUOUS"},
		"different keys in one header": {apiKey: []string{"k", "l"}, reason: "API_KEY_AMBIGUOUS"},
		"different keys, one twice":    {apiKey: []string{"k", "l", "k"}, reason: "API_KEY_AMBIGUOUS"},
		"a key without bearer":         {authorization: []string{"k"}, reason: "API_KEY_MISSING"},
		"another scheme":               {authorization: []string{"Basic k"}, reason: "API_KEY_MISSING"},
		"another scheme beside a key":  {apiKey: []string{"k"}, authorization: []string{"Basic l"}, key: "k"},
		"bearer among other schemes":   {authorization: []string{"Basic l", "Bearer k"}, key: "k"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			key, err := presentedKey(test.apiKey, test.authorization)
			if key != test.key {
				t.Errorf("key is %q, want %q", key, test.key)
			}
			if (err != nil) != (test.reason != "") || err != nil && reason(t, err) != test.reason {
				t.Errorf("error is %v, want reason %q", err, test.reason)
			}
		})
	}
}

// Whatever the headers hold, a key is only what one of them holds, and a
// refusal quotes nothing of it.
func FuzzPresentedKey(f *testing.F) {
	f.Add("key-one", "Bearer key-one")
	f.Add("", "bearer\tkey-two")
	f.Add("key-three", "Basic key-four")
	f.Add(" ", "key-five-without-scheme")
	f.Fuzz(func(t *testing.T, apiKey, authorization string) {
		key, err := presentedKey([]string{apiKey}, []string{authorization})
		if key != strings.TrimSpace(key) || !strings.Contains(apiKey, key) && !strings.Contains(authorization, key) {
			t.Errorf("key %q is not in the headers %q and %q", key, apiKey, authorization)
		}
		if err != nil && key != "" {
			t.Errorf("key %q beside the error %v", key, err)
		}
		if err == nil && key == "" && strings.TrimSpace(apiKey) != "" {
			t.Errorf("the key %q was not seen", apiKey)
		}
		again, twice := presentedKey([]string{authorization + "?secret"}, []string{apiKey + "?secret"})
		if twice != nil && strings.Contains(twice.Error(), "?secret") {
			t.Errorf("refusal quotes a header: %v (key %q)", twice, again)
		}
	})
}

// Every key is found by itself and gives its own tenant and scopes.
func TestKeyring(t *testing.T) {
	t.Parallel()
	keys := append(testKeys(), Key{Name: "last", Tenant: "umbrella", SHA256: sha256.Sum256([]byte("the last key"))})
	ring := newKeyring(keys)
	for presented, want := range map[string]string{
		runKey: "acme/runner", tasksKey: "default/tasker", "the last key": "umbrella/last",
	} {
		ctx := metadata.NewIncomingContext(t.Context(), metadata.Pairs("x-api-key", presented))
		id, err := ring.identify(ctx)
		if err != nil || id.Tenant+"/"+id.Key != want {
			t.Errorf("key %q is %v, %v; want %s", presented, id, err, want)
		}
	}
	for _, presented := range []string{"", runKey[:5], runKey + "x", strings.ToUpper(runKey)} {
		if id := ring.find(presented); id != nil {
			t.Errorf("key %q is taken for %v", presented, id)
		}
	}
}

// No scope contains another: a key for administration runs nothing.
func TestScopesDoNotContainEachOther(t *testing.T) {
	t.Parallel()
	admin := Identity{Scopes: []Scope{ScopeAdmin}}
	if admin.may(ScopeRun) || admin.may(ScopeTasks) || !admin.may(ScopeAdmin) || !admin.may(scopeAny) {
		t.Error("the scope admin allows something else than admin")
	}
	if nothing := (Identity{}); nothing.may(ScopeRun) || !nothing.may(scopeAny) {
		t.Error("a key without scopes may do more than what any key may")
	}
}

package interceptors

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"slices"
	"strings"

	"google.golang.org/grpc/metadata"
)

// Key is an API key that may call.
type Key struct {
	// Name is what logs call it.
	Name string
	// Tenant is whose data it sees; DefaultTenant when empty.
	Tenant string
	// SHA256 is the key's hash. The key itself is nowhere.
	SHA256 [sha256.Size]byte
	// Scopes are what it may do.
	Scopes []Scope
}

// howToSend ends every refusal of a key.
const howToSend = "send it as `x-api-key: KEY` or `authorization: Bearer KEY`"

// auth lets those in who have a key with the scope that the method needs.
func auth(keys []Key, required func(method string) Scope) wrap {
	ring := newKeyring(keys)
	return func(ctx context.Context, p *passage) error {
		if err := ring.admit(ctx, required(p.method)); err != nil {
			return err
		}
		return p.next(ctx)
	}
}

// keyring knows keys by their hashes.
type keyring struct {
	hashes     [][sha256.Size]byte
	identities []*Identity
	anybody    *Identity // set when there are no keys
}

func newKeyring(keys []Key) *keyring {
	ring := &keyring{}
	for _, k := range keys {
		ring.hashes = append(ring.hashes, k.SHA256)
		ring.identities = append(ring.identities, &Identity{
			Tenant: cmp.Or(k.Tenant, DefaultTenant), Key: k.Name, Scopes: slices.Clone(k.Scopes),
		})
	}
	if len(keys) == 0 {
		ring.anybody = &Identity{Tenant: DefaultTenant, Scopes: []Scope{ScopeRun, ScopeTasks, ScopeAdmin}}
	}
	return ring
}

// admit notes who calls, if that one may.
func (r *keyring) admit(ctx context.Context, scope Scope) error {
	identity, err := r.identify(ctx)
	if err != nil {
		return err
	}
	callFrom(ctx).identity = identity
	if !identity.may(scope) {
		return PermissionDenied("SCOPE_MISSING", "this API key lacks the scope `"+string(scope)+"`",
			map[string]string{"scope": string(scope)})
	}
	return nil
}

func (r *keyring) identify(ctx context.Context) (*Identity, error) {
	if r.anybody != nil {
		return r.anybody, nil
	}
	key, err := presentedKey(
		metadata.ValueFromIncomingContext(ctx, "x-api-key"),
		metadata.ValueFromIncomingContext(ctx, "authorization"),
	)
	if err != nil {
		return nil, err
	}
	if key == "" {
		return nil, missingKey(ctx)
	}
	identity := r.find(key)
	if identity == nil {
		return nil, Unauthenticated("API_KEY_INVALID", "this API key is not known here")
	}
	return identity, nil
}

// find compares with every key, so that the time it takes tells nothing of
// which hash is close or where it stands.
func (r *keyring) find(key string) *Identity {
	presented := sha256.Sum256([]byte(key))
	found := -1
	for i := range r.hashes {
		equal := subtle.ConstantTimeCompare(presented[:], r.hashes[i][:])
		found = subtle.ConstantTimeSelect(equal, i, found)
	}
	if found < 0 {
		return nil
	}
	return r.identities[found]
}

// presentedKey returns the key that the two headers hold, and "" when they hold
// none. Both may hold it; two different keys are refused, since one cannot know
// which was meant. Beside x-api-key, another scheme of authorization is
// somebody else's business.
func presentedKey(apiKey, authorization []string) (string, error) {
	var keys []string
	for _, value := range apiKey {
		if value = strings.TrimSpace(value); value != "" {
			keys = append(keys, value)
		}
	}
	noBearer := false
	for _, value := range authorization {
		scheme, key, _ := strings.Cut(strings.TrimSpace(value), " ")
		if !strings.EqualFold(scheme, "bearer") {
			noBearer = noBearer || scheme != ""
		} else if key = strings.TrimSpace(key); key != "" {
			keys = append(keys, key)
		}
	}
	switch keys = slices.Compact(keys); {
	case len(keys) > 1:
		return "", Unauthenticated("API_KEY_AMBIGUOUS", "several different API keys were sent; send one")
	case len(keys) == 1:
		return keys[0], nil
	case noBearer:
		return "", Unauthenticated("API_KEY_MISSING",
			"the header `authorization` does not begin with `Bearer`; no API key was read: "+howToSend)
	default:
		return "", nil
	}
}

// missingKey says that there is no key, and names the header in which it may
// have been sent by mistake.
func missingKey(ctx context.Context) error {
	for _, header := range []string{
		"api-key", "apikey", "api_key", "x-apikey", "x-api_key", "x-api-token", "x-auth-token", "x-access-token",
		"x-goog-api-key", "x-runwire-key", "token", "bearer", "key",
	} {
		if len(metadata.ValueFromIncomingContext(ctx, header)) > 0 {
			return Unauthenticated("API_KEY_MISSING", "the header `"+header+"` is not read for an API key: "+howToSend)
		}
	}
	return Unauthenticated("API_KEY_MISSING", "an API key is needed: "+howToSend)
}

package config

import (
	"encoding/hex"
	"fmt"
	"slices"
)

const newKeyHint = "`runwire keys new` makes a key"

// keys reads `keys`.
func (v value) keys() []Key {
	var keys []Key
	names := make(map[string]int)
	hashes := make(map[[32]byte]int)
	v.list(`a list such as [{name: …, sha256: "…"}]`, func(item value) {
		key, hashed := item.apiKey()
		if line, twice := names[key.Name]; twice {
			item.wrong(fmt.Sprintf("the key in line %d has the same name", line), "give each its own")
		}
		if line, twice := hashes[key.SHA256]; twice && hashed {
			item.wrong(fmt.Sprintf("the key in line %d has the same sha256", line), newKeyHint)
		}
		if key.Name != "" {
			names[key.Name] = item.node.Line
		}
		if hashed {
			hashes[key.SHA256] = item.node.Line
		}
		keys = append(keys, key)
	})
	return keys
}

// apiKey reads one key, and says whether it has a hash.
func (v value) apiKey() (Key, bool) {
	key := Key{Tenant: DefaultTenant, Scopes: []Scope{ScopeRun, ScopeTasks}}
	var keyName, hash value
	right := v.object(fields{
		"name":             keep(&keyName),
		"tenant":           identifier(&key.Tenant),
		"sha256":           keep(&hash),
		"cost_usd_per_day": dollars(&key.CostPerDay, 1, mostCost),
		"scopes": func(scopes value) {
			if scopes.given() {
				key.Scopes = scopes.scopes()
			}
		},
	})
	if !right {
		return key, false
	}
	identifier(&key.Name)(keyName)
	if !keyName.given() {
		v.lacks("has no name", "add one: it stands in the log")
	}
	hashed := hash.sha256(&key.SHA256)
	if !hash.given() {
		v.lacks("has no sha256", newKeyHint)
	}
	return key, hashed
}

// sha256 reads a hash into it.
func (v value) sha256(into *[32]byte) bool {
	s, ok := v.text()
	if !ok {
		return false
	}
	digits := hex.EncodedLen(len(into))
	if len(s) != digits {
		v.wrong(fmt.Sprintf("wants %d hexadecimal digits, not %d characters", digits, len([]rune(s))), newKeyHint)
		return false
	}
	if _, err := hex.Decode(into[:], []byte(s)); err != nil {
		v.wrong(fmt.Sprintf("wants %d hexadecimal digits, 0 to 9 and a to f", digits), newKeyHint)
		return false
	}
	return true
}

// scopes reads a list of scopes.
func (v value) scopes() []Scope {
	known := []string{string(ScopeRun), string(ScopeTasks), string(ScopeAdmin)}
	var scopes []Scope
	list := v.list("a list such as [run, tasks]", func(item value) {
		s, ok := item.text()
		switch {
		case !ok:
		case !slices.Contains(known, s):
			item.wrong("no scope "+item.quoted(s), suggest(s, known))
		case slices.Contains(scopes, Scope(s)):
			item.wrong("the scope is named twice", "keep one")
		default:
			scopes = append(scopes, Scope(s))
		}
	})
	if list && len(v.node.Content) == 0 {
		v.wrong("no scope is named", "leave it out for run and tasks")
	}
	return scopes
}

package main

import (
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// newKeyCommand makes a key.
type newKeyCommand struct {
	Name   string   `help:"What logs call the key. Made from its hash when absent."`
	Tenant string   `help:"Whose data the key sees." default:"default"`
	Scopes []string `help:"What the key may do: ${enum}." enum:"run,tasks,admin" default:"run"`
}

// Run prints the key and what to put into the configuration file.
func (c *newKeyCommand) Run(term terminal) error {
	key := newKey()
	hash := hash(key)
	_, err := fmt.Fprintf(term.out, `# The key. It is shown this once; give it to the client.
%s

# Its line in the configuration file, under keys:
  - {name: %q, tenant: %q, sha256: %q, scopes: [%s]}
`, key, cmp.Or(c.Name, "key-"+hash[:8]), c.Tenant, hash, strings.Join(c.Scopes, ", "))
	return err
}

// newKey returns a key of 260 random bits, in letters and digits that survive
// a double click.
func newKey() string {
	return "rw_" + strings.ToLower(rand.Text()+rand.Text())
}

func hash(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:])
}

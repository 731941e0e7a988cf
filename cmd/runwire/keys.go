package main

import (
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/runwire/runwire/config"
)

// newKeyCommand makes a key.
type newKeyCommand struct {
	Name   string   `help:"What logs call the key. Made from its hash when absent."`
	Tenant string   `help:"Whose data the key sees." default:"default"`
	Scopes []string `help:"What the key may do: ${enum}." enum:"run,tasks,admin" default:"run,tasks"`
}

// Run prints the key and what to put into the configuration file.
func (c *newKeyCommand) Run(term terminal) error {
	key := newKey()
	hash := hash(key)
	name := cmp.Or(c.Name, "key-"+hash[:8])
	if !config.ValidName(name) || !config.ValidName(c.Tenant) {
		return mistake{errors.New("runwire: a key's name and its tenant are each " + config.NameRule)}
	}
	_, err := fmt.Fprintf(term.out, `# The key. It is shown this once; give it to the client.
%s

# Its line in the configuration file, under keys:
  - {name: %q, tenant: %q, sha256: %q, scopes: [%s]}
`, key, name, c.Tenant, hash, strings.Join(c.Scopes, ", "))
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

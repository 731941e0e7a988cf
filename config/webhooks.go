package config

import (
	"encoding/base64"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Webhooks is `webhooks`.
type Webhooks struct {
	// Secrets sign what tenants are told who have none of their own; may be
	// empty. Each is `whsec_` and 24 to 64 bytes in base64.
	Secrets []Secret
	// TenantSecrets are those of single tenants; may be nil.
	TenantSecrets map[string][]Secret
	// AllowPrivate lets webhooks go to private networks and this machine too.
	AllowPrivate bool
}

// webhooks reads `webhooks`.
func (v value) webhooks() Webhooks {
	var webhooks Webhooks
	v.object(fields{
		"secret": func(v value) { webhooks.Secrets = v.webhookSecrets() },
		"tenant_secrets": func(v value) {
			webhooks.TenantSecrets = make(map[string][]Secret)
			v.entries(func(tenant string, entry value) {
				if !entry.named(tenant) {
					return
				}
				if !entry.given() {
					entry.lacks("has no secret", makeOne)
					return
				}
				webhooks.TenantSecrets[tenant] = entry.webhookSecrets()
			})
		},
		"allow_private": truth(&webhooks.AllowPrivate),
	})
	return webhooks
}

const makeOne = "`echo whsec_$(openssl rand -base64 32)` makes one"

// maxSecrets bounds the secrets that sign at once: one leaves as one comes.
const maxSecrets = 5

// webhookSecrets reads one secret, or a list of them.
func (v value) webhookSecrets() []Secret {
	if !v.given() || v.node.Kind != yaml.SequenceNode {
		return v.webhookSecret(nil)
	}
	var secrets []Secret
	v.list("a secret, or a list of secrets", func(item value) { secrets = item.webhookSecret(secrets) })
	if len(v.node.Content) == 0 {
		v.wrong("has no secret", makeOne)
	}
	if len(v.node.Content) > maxSecrets {
		v.wrong(fmt.Sprintf("has more than %d secrets", maxSecrets), "")
	}
	return secrets
}

// webhookSecret reads a secret behind others.
func (v value) webhookSecret(others []Secret) []Secret {
	text, ok := v.text()
	if !ok {
		return others
	}
	const prefix, least, most = "whsec_", 24, 64
	digits, ok := strings.CutPrefix(strings.TrimSpace(text), prefix)
	key, err := base64.StdEncoding.DecodeString(digits)
	if !ok || err != nil || len(key) < least || len(key) > most || strings.ContainsAny(digits, "\r\n") {
		v.wrong("wants whsec_ and 24 to 64 bytes in base64", makeOne)
		return others
	}
	return append(others, Secret(prefix+digits))
}

// truth reads true or false.
func truth(into *bool) func(value) {
	return func(v value) {
		const wants = "true or false"
		if !v.is(yaml.ScalarNode, wants) {
			return
		}
		switch text, ok := v.expanded(); {
		case !ok:
		case text == "true":
			*into = true
		case text == "false":
			*into = false
		default:
			v.wrong("wants "+wants+", not "+v.shown(), "")
		}
	}
}

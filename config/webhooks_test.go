package config

import (
	"strings"
	"testing"
)

// okSecret and otherSecret are webhook secrets.
const (
	okSecret    = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
	otherSecret = "whsec_YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXoxMjM0NTY="
)

func TestWebhooks(t *testing.T) {
	t.Parallel()
	for file, want := range map[string]Webhooks{
		"webhooks:":                       {},
		"webhooks: {secret: }":            {},
		"webhooks: {secret: \"${S}\\n\"}": {Secrets: []Secret{okSecret}},
		"webhooks: {allow_private: true, secret: [" + okSecret + ", \"${S}\"]}": {
			Secrets: []Secret{okSecret, okSecret}, AllowPrivate: true,
		},
		"webhooks: {tenant_secrets: {acme: " + otherSecret + ", rival: [" + okSecret + "]}, allow_private: \"${NO}\"}": {
			TenantSecrets: map[string][]Secret{"acme": {otherSecret}, "rival": {okSecret}},
		},
	} {
		equal(t, mustParse(t, file, "S", okSecret, "NO", "false").Webhooks, want)
	}
}

func TestMistakesInWebhooks(t *testing.T) {
	t.Parallel()
	for file, says := range map[string]string{
		"webhooks: {secret: whsec_c2hvcnQ=}":                            "webhooks.secret: wants whsec_ and 24 to 64 bytes in base64",
		"webhooks: {secret: " + okSecret[6:] + "}":                      "webhooks.secret: wants whsec_",
		"webhooks: {secret: [" + okSecret + ", nonsense]}":              "webhooks.secret[1]: wants whsec_",
		"webhooks: {secret: []}":                                        "webhooks.secret: has no secret",
		"webhooks: {secret: {a: b}}":                                    "webhooks.secret: wants text, not keys with values",
		"webhooks: {secret: [" + strings.Repeat(okSecret+",", 6) + "]}": "webhooks.secret: has more than 5 secrets",
		"webhooks: {tenant_secrets: {acme: }}":                          "webhooks.tenant_secrets.acme: has no secret",
		"webhooks: {tenant_secrets: {\"a b\": " + okSecret + "}}":       "a name is",
		"webhooks: {tenant_secrets: [a]}":                               "webhooks.tenant_secrets: wants keys with values",
		"webhooks: {allow_private: yes}":                                "webhooks.allow_private: wants true or false, not ",
		"webhooks: {allow_privat: true}":                                `did you mean "allow_private"?`,
	} {
		got := mistakesIn(t, file)
		if !strings.Contains(got, says) {
			t.Errorf("%s\ngot  %s\nwant %s", file, got, says)
		}
		if strings.Contains(got, okSecret[6:20]) || strings.Contains(got, "c2hvcnQ") {
			t.Errorf("the secret is shown: %s", got)
		}
	}
}

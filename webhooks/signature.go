package webhooks

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	standard "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// Secrets are what deliveries are signed with.
type Secrets struct {
	// All sign the deliveries of every tenant that has none of its own. With
	// several each signs, so that receivers can change from one to the next.
	All []string
	// ByTenant are those of single tenants.
	ByTenant map[string][]string
}

// signers are secrets, ready to sign.
type signers struct {
	all      []*standard.Webhook
	byTenant map[string][]*standard.Webhook
}

func newSigners(secrets Secrets) (*signers, error) {
	all, err := parseSecrets(secrets.All)
	if err != nil {
		return nil, err
	}
	s := &signers{all: all, byTenant: make(map[string][]*standard.Webhook, len(secrets.ByTenant))}
	for tenant, texts := range secrets.ByTenant {
		if s.byTenant[tenant], err = parseSecrets(texts); err != nil {
			return nil, fmt.Errorf("tenant %q: %w", tenant, err)
		}
	}
	return s, nil
}

const (
	secretPrefix = "whsec_"
	leastSecret  = 24
	mostSecret   = 64
)

var errSecret = errors.New("a webhook secret is whsec_ and 24 to 64 bytes in base64")

func parseSecrets(texts []string) ([]*standard.Webhook, error) {
	parsed := make([]*standard.Webhook, len(texts))
	for i, text := range texts {
		digits, ok := strings.CutPrefix(text, secretPrefix)
		key, err := base64.StdEncoding.DecodeString(digits)
		if !ok || err != nil || len(key) < leastSecret || len(key) > mostSecret {
			return nil, errSecret
		}
		if parsed[i], err = standard.NewWebhookRaw(key); err != nil {
			return nil, errSecret
		}
	}
	return parsed, nil
}

// of returns what signs a tenant's deliveries; may be none.
func (s *signers) of(tenant string) []*standard.Webhook {
	if own := s.byTenant[tenant]; len(own) > 0 {
		return own
	}
	return s.all
}

// sign is the signature's header.
func sign(with []*standard.Webhook, id string, at time.Time, payload []byte) (string, error) {
	signatures := make([]string, len(with))
	for i, signer := range with {
		signature, err := signer.Sign(id, at, payload)
		if err != nil {
			return "", fmt.Errorf("signing a webhook: %w", err)
		}
		signatures[i] = signature
	}
	return strings.Join(signatures, " "), nil
}

package webhooks

import (
	"errors"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/runwire/runwire/netguard"
	"golang.org/x/net/idna"
)

// Check returns why a URL can never be delivered to, as far as that can be told
// without a resolver, or nil. The error completes "webhook_url …" and shows
// nothing of the URL. With allowPrivate any name will do here, but for one of a cloud's
// metadata; what netguard allows is still asked when it is connected to.
func Check(rawURL string, allowPrivate bool) error {
	parsed, err := url.Parse(rawURL)
	if err != nil {
		return errors.New("is not a URL")
	}
	return check(parsed, allowPrivate)
}

func check(target *url.URL, allowPrivate bool) error {
	switch {
	case target.Scheme != "http" && target.Scheme != "https":
		return errors.New("must begin with http:// or https://")
	case target.User != nil:
		return errors.New("must have no user and no password; receivers verify the signature instead")
	case target.Hostname() == "":
		return errors.New("must name a host")
	}
	if port := target.Port(); port != "" {
		if number, err := strconv.ParseUint(port, 10, 16); err != nil || number == 0 {
			return errors.New("must have a port from 1 to 65535")
		}
	}
	return checkHost(target.Hostname(), allowPrivate)
}

var (
	errNotPublic = errors.New("must be a public address")
	errNotOurs   = errors.New("must be a public or private address, not link-local or cloud metadata")
)

// checkHost refuses addresses that are not allowed and names that can not be.
func checkHost(host string, allowPrivate bool) error {
	if strings.Contains(host, ":") {
		return checkAddress(host, allowPrivate)
	}
	ascii, err := idna.Lookup.ToASCII(strings.TrimSuffix(host, "."))
	if err != nil && !isPlain(host) {
		return errors.New("must name a host")
	}
	if err != nil { // an underscore, say, which resolvers do not mind
		ascii = strings.ToLower(strings.TrimSuffix(host, "."))
	}
	if address, ok := number4(ascii); ok {
		return checkAddress(address, allowPrivate)
	}
	if allowPrivate {
		if ascii == "metadata.google.internal" { // wherever it leads
			return errNotOurs
		}
		return nil
	}
	for _, zone := range []string{"localhost", "local", "internal", "localdomain", "lan", "home.arpa", "onion"} {
		if ascii == zone || strings.HasSuffix(ascii, "."+zone) {
			return errNotPublic
		}
	}
	if !strings.Contains(ascii, ".") { // a machine of this network
		return errNotPublic
	}
	return nil
}

func isPlain(host string) bool {
	return !strings.ContainsFunc(host, func(c rune) bool { return c <= ' ' || c > '~' || strings.ContainsRune(`%/\@?#[]<>"`, c) })
}

func checkAddress(text string, allowPrivate bool) error {
	address, err := netip.ParseAddr(text)
	if err != nil {
		return errors.New("must name a host")
	}
	switch {
	case netguard.Allowed(address, allowPrivate):
		return nil
	case allowPrivate:
		return errNotOurs
	default:
		return errNotPublic
	}
}

// number4 returns the IPv4 address that a host is in any of its notations, of
// one to four numbers in decimal, octal or hexadecimal: what ends in a number
// is no name. What is none of them either comes back as it is.
func number4(host string) (string, bool) {
	parts := strings.Split(host, ".")
	if _, ok := number(parts[len(parts)-1]); !ok {
		return "", false
	}
	const most = 4
	if len(parts) > most {
		return host, true
	}
	var address uint64
	for i, part := range parts {
		value, ok := number(part)
		bits := 8
		if i == len(parts)-1 {
			bits = 8 * (most - i)
		}
		if !ok || value>>bits != 0 {
			return host, true
		}
		address = address<<bits | value
	}
	return net.IPv4(byte(address>>24), byte(address>>16), byte(address>>8), byte(address)).String(), true
}

func number(text string) (uint64, bool) {
	base, digits := 10, text
	switch {
	case strings.HasPrefix(text, "0x"):
		base, digits = 16, text[2:]
		if digits == "" {
			return 0, true
		}
	case len(text) > 1 && text[0] == '0':
		base, digits = 8, text[1:]
	}
	value, err := strconv.ParseUint(digits, base, 64)
	if err != nil && text != "" && !strings.ContainsFunc(text, func(c rune) bool { return c < '0' || c > '9' }) {
		return 1 << 63, true // a number all the same, and too large for an address
	}
	return value, err == nil
}

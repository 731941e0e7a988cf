package tool

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/net/idna"
)

// hostList is the hosts that may be asked.
type hostList struct {
	any       bool
	names     map[string]bool
	below     []string // each with the dot before it
	addresses map[netip.Addr]bool
}

func parseHosts(hosts []string) (hostList, error) {
	list := hostList{names: make(map[string]bool), addresses: make(map[netip.Addr]bool)}
	if len(hosts) == 0 {
		return list, errors.New("no host is allowed")
	}
	for _, host := range hosts {
		suffix, below := strings.CutPrefix(host, "*.")
		name, addr, ok := parseHost(suffix)
		switch {
		case host == "*":
			list.any = true
		case !ok || below && addr.IsValid():
			return list, fmt.Errorf("the host %q is neither a name, nor all names below one (*.example.com), nor an address, nor *", host)
		case below:
			list.below = append(list.below, "."+name)
		case addr.IsValid():
			list.addresses[addr] = true
		default:
			list.names[name] = true
		}
	}
	return list, nil
}

// allow says whether the host of a URL may be asked. An address may only when
// it is named itself.
func (l hostList) allow(host string) bool {
	name, addr, ok := parseHost(host)
	switch {
	case !ok:
		return false
	case addr.IsValid():
		return l.addresses[addr]
	case l.any || l.names[name]:
		return true
	}
	for _, suffix := range l.below {
		if strings.HasSuffix(name, suffix) {
			return true
		}
	}
	return false
}

// parseHost tells names from addresses. What ends in a number is an address,
// and no address but in its plain form: resolvers read `127.1`, `0x7f.1` and
// `2130706433` as one.
func parseHost(host string) (name string, addr netip.Addr, ok bool) {
	if addr, err := netip.ParseAddr(host); err == nil {
		return "", addr.Unmap(), addr.Zone() == ""
	}
	name = strings.ToLower(strings.TrimSuffix(host, "."))
	if strings.ContainsFunc(name, notNameRune) {
		ascii, err := idna.Lookup.ToASCII(name)
		if err != nil {
			return "", netip.Addr{}, false
		}
		name = ascii
	}
	labels := strings.Split(name, ".")
	if slices.Contains(labels, "") || isNumber(labels[len(labels)-1]) {
		return "", netip.Addr{}, false
	}
	return name, netip.Addr{}, true
}

// notNameRune says whether c cannot stand in a name as resolvers take it.
func notNameRune(c rune) bool {
	return (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.'
}

func isNumber(label string) bool {
	digits, hexadecimal := strings.CutPrefix(label, "0x")
	return !strings.ContainsFunc(digits, func(c rune) bool {
		return (c < '0' || c > '9') && (!hexadecimal || c < 'a' || c > 'f')
	})
}

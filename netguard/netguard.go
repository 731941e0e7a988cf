// Package netguard says which addresses on the network a caller may have this
// process connect to. It must not know why one connects.
package netguard

import (
	"errors"
	"fmt"
	"net/netip"
	"syscall"
)

// ErrRefused is why DialControl refuses an address. What wraps it may name the
// address, which is for the log alone.
var ErrRefused = errors.New("the address is not allowed")

// Public says whether an address is on the public Internet. It is not when it
// is private, shared (CGNAT), loopback, link-local, multicast, unspecified,
// reserved, for documentation, or one that cloud machines ask for their own
// credentials; when it has a zone; and when it is none.
//
// An IPv6 address that stands for an IPv4 one (mapped, NAT64) is what that one
// is; one of a tunnel (6to4, Teredo) is never public. An operator's own prefix
// of NAT64 cannot be told from other addresses.
func Public(addr netip.Addr) bool {
	addr, ok := meant(addr)
	switch {
	case !ok:
		return false
	case addr.Is4():
		return !within(addr, special4)
	default:
		return within(addr, global6) && !within(addr, special6)
	}
}

// Allowed says whether an address may be connected to: a public one. With
// allowPrivate, networks of one's own are allowed too: private, shared and
// loopback addresses. Whatever else is not public stays refused, above all
// link-local addresses, where clouds keep credentials.
func Allowed(addr netip.Addr, allowPrivate bool) bool {
	return Public(addr) || allowPrivate && ours(addr)
}

// DialControl returns what net.Dialer's Control is set to, so that it connects
// to Allowed addresses only. It sees each address after names are resolved and
// right before it is connected to, so no name can change its mind in between.
//
// It refuses with an error that wraps ErrRefused. Safe for concurrent use.
func DialControl(allowPrivate bool) func(network, address string, conn syscall.RawConn) error {
	return func(_, address string, _ syscall.RawConn) error {
		target, err := netip.ParseAddrPort(address)
		if err != nil {
			return fmt.Errorf("connecting to %q: %w", address, ErrRefused)
		}
		if Allowed(target.Addr(), allowPrivate) {
			return nil
		}
		return fmt.Errorf("connecting to %s: %w", target.Addr(), ErrRefused)
	}
}

// ours says whether an address is of a network that belongs to whoever uses it.
func ours(addr netip.Addr) bool {
	addr, ok := meant(addr)
	return ok && (addr.IsLoopback() || addr.IsPrivate() || within(addr, shared4)) && !within(addr, metadata)
}

// meant is the address that packets to addr end up at. It returns false if
// there is none that could be judged.
func meant(addr netip.Addr) (netip.Addr, bool) {
	if !addr.IsValid() || addr.Zone() != "" {
		return netip.Addr{}, false
	}
	addr = addr.Unmap()
	if within(addr, nat64) {
		bytes := addr.As16()
		return netip.AddrFrom4([4]byte(bytes[12:])), true
	}
	return addr, true
}

func within(addr netip.Addr, networks []netip.Prefix) bool {
	for _, network := range networks {
		if network.Contains(addr) {
			return true
		}
	}
	return false
}

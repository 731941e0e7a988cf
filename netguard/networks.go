package netguard

import "net/netip"

// The networks are those of the IANA registries of special-purpose addresses
// (RFC 6890 and its successors) that are not reachable from everywhere, and
// a few more, each with its reason.

// global6 is all that has been given out to the public so far.
var global6 = []netip.Prefix{netip.MustParsePrefix("2000::/3")}

// nat64 holds an IPv4 address in its last 32 bits (RFC 6052).
var nat64 = []netip.Prefix{netip.MustParsePrefix("64:ff9b::/96")}

// shared4 is the address space between a carrier and its customers (CGNAT).
var shared4 = []netip.Prefix{netip.MustParsePrefix("100.64.0.0/10")}

var special4 = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),        // this network; 0.0.0.0 reaches this machine
	netip.MustParsePrefix("10.0.0.0/8"),       // private
	netip.MustParsePrefix("100.64.0.0/10"),    // Alibaba Cloud's metadata is in it
	netip.MustParsePrefix("127.0.0.0/8"),      // loopback
	netip.MustParsePrefix("168.63.129.16/32"), // Azure's host, which serves its machine's secrets
	netip.MustParsePrefix("169.254.0.0/16"),   // link-local; most clouds' metadata
	netip.MustParsePrefix("172.16.0.0/12"),    // private
	netip.MustParsePrefix("192.0.0.0/24"),     // protocol assignments; Oracle Cloud's metadata
	netip.MustParsePrefix("192.0.2.0/24"),     // documentation
	netip.MustParsePrefix("192.88.99.0/24"),   // relays of 6to4, deprecated
	netip.MustParsePrefix("192.168.0.0/16"),   // private
	netip.MustParsePrefix("198.18.0.0/15"),    // benchmarks
	netip.MustParsePrefix("198.51.100.0/24"),  // documentation
	netip.MustParsePrefix("203.0.113.0/24"),   // documentation
	netip.MustParsePrefix("224.0.0.0/4"),      // multicast
	netip.MustParsePrefix("240.0.0.0/4"),      // reserved, and broadcast
}

var special6 = []netip.Prefix{
	netip.MustParsePrefix("2001::/23"),     // protocol assignments; Teredo among them
	netip.MustParsePrefix("2001:db8::/32"), // documentation
	netip.MustParsePrefix("2002::/16"),     // 6to4, which leads to any IPv4 address
	netip.MustParsePrefix("3fff::/20"),     // documentation
}

// metadata are addresses among the private ones at which clouds keep a
// machine's credentials.
var metadata = []netip.Prefix{
	netip.MustParsePrefix("100.100.100.200/32"), // Alibaba Cloud
	netip.MustParsePrefix("fd00:ec2::254/128"),  // AWS
	netip.MustParsePrefix("fd20:ce::254/128"),   // Google Cloud
}

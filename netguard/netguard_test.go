package netguard

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

var cases = map[string]struct{ public, ours bool }{
	"93.184.215.14":                  {public: true},
	"1.1.1.1":                        {public: true},
	"100.63.255.255":                 {public: true},
	"100.128.0.0":                    {public: true},
	"172.15.255.255":                 {public: true},
	"172.32.0.0":                     {public: true},
	"223.255.255.255":                {public: true},
	"2606:2800:21f:cb07:6820:80da::": {public: true},
	"2a00:1450:4001:82a::200e":       {public: true},
	"2001:200::1":                    {public: true},
	"2001:4860:4860::8888":           {public: true},
	"::ffff:1.1.1.1":                 {public: true},
	"64:ff9b::1.1.1.1":               {public: true},

	"10.0.0.1":           {ours: true},
	"172.16.0.1":         {ours: true},
	"172.31.255.255":     {ours: true},
	"192.168.1.1":        {ours: true},
	"127.0.0.1":          {ours: true},
	"127.255.255.254":    {ours: true},
	"100.64.0.1":         {ours: true},
	"100.127.255.255":    {ours: true},
	"::1":                {ours: true},
	"fd12:3456::1":       {ours: true},
	"fc00::1":            {ours: true},
	"::ffff:127.0.0.1":   {ours: true},
	"::ffff:10.0.0.1":    {ours: true},
	"64:ff9b::127.0.0.1": {ours: true},
	"64:ff9b::10.1.2.3":  {ours: true},

	"0.0.0.0":                              {},
	"0.1.2.3":                              {},
	"168.63.129.16":                        {},
	"169.254.169.254":                      {},
	"169.254.0.1":                          {},
	"100.100.100.200":                      {},
	"192.0.0.192":                          {},
	"192.0.2.1":                            {},
	"192.88.99.1":                          {},
	"198.18.0.1":                           {},
	"198.19.255.255":                       {},
	"198.51.100.1":                         {},
	"203.0.113.1":                          {},
	"224.0.0.1":                            {},
	"239.255.255.255":                      {},
	"240.0.0.1":                            {},
	"255.255.255.255":                      {},
	"::":                                   {},
	"::127.0.0.1":                          {}, // compatible
	"::ffff:169.254.169.254":               {},
	"::ffff:0:127.0.0.1":                   {}, // translated
	"64:ff9b::169.254.169.254":             {},
	"64:ff9b:1::10.0.0.1":                  {}, // local NAT64
	"100::1":                               {},
	"2001::1":                              {}, // Teredo
	"2001:0:4136:e378:8000:63bf:3fff:fdd2": {},
	"2001:2::1":                            {},
	"2001:20::1":                           {},
	"2001:db8::1":                          {},
	"2002:7f00:1::":                        {}, // 6to4 of 127.0.0.1
	"2002:101:101::1":                      {},
	"3fff::1":                              {},
	"4000::1":                              {},
	"5f00::1":                              {},
	"fd00:ec2::254":                        {},
	"fd20:ce::254":                         {},
	"fe80::1":                              {},
	"fe80::1%eth0":                         {},
	"fec0::1":                              {},
	"ff02::1":                              {},
	"1.1.1.1.":                             {}, // no address at all
	"2a00:1450:4001:82a::200e%1":           {},
	"::1%lo":                               {},
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	for text, want := range cases {
		addr, _ := netip.ParseAddr(text)
		if got := Public(addr); got != want.public {
			t.Errorf("%s is public: %t, want %t", text, got, want.public)
		}
		address := net.JoinHostPort(text, "443")
		if err := DialControl(false)("tcp", address, nil); (err == nil) != want.public {
			t.Errorf("connecting to %s: %v, want it allowed: %t", text, err, want.public)
		}
		allowed := want.public || want.ours
		err := DialControl(true)("tcp", address, nil)
		if (err == nil) != allowed || err != nil && !errors.Is(err, ErrRefused) {
			t.Errorf("connecting to %s, private ones too: %v, want it allowed: %t", text, err, allowed)
		}
	}
}

func TestAddressesThatAreNone(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"", ":80", "1.1.1.1", "localhost:80", "2130706433:80", "0x7f.1:80", "0177.0.0.1:80", "127.1:80", "/run/socket"} {
		for _, allowPrivate := range []bool{false, true} {
			if err := DialControl(allowPrivate)("tcp", address, nil); !errors.Is(err, ErrRefused) {
				t.Errorf("connecting to %q: %v, want it refused", address, err)
			}
		}
	}
}

func TestEveryDisguiseOfAnAddress(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		four := [4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "address"))
		plain := netip.AddrFrom4(four)
		for _, prefix := range []string{"::ffff:", "64:ff9b::"} {
			if disguised := netip.MustParseAddr(prefix + plain.String()); Public(disguised) != Public(plain) {
				t.Errorf("%s and %s are not judged alike", disguised, plain)
			}
		}
		for _, prefix := range []string{"::", "::ffff:0:", "64:ff9b:1::", "2002::"} {
			if disguised := netip.MustParseAddr(prefix + plain.String()); Public(disguised) {
				t.Errorf("%s is public", disguised)
			}
		}
		if Public(plain) && (plain.IsPrivate() || plain.IsLoopback() || !plain.IsGlobalUnicast()) {
			t.Errorf("%s is public", plain)
		}
	})
}

// A name that leads to loopback is refused where it leads to, whatever it says.
func TestDialThroughAName(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	for _, host := range []string{"localhost", "127.0.0.1", "::ffff:127.0.0.1"} {
		closed := net.Dialer{Control: DialControl(false)}
		if conn, err := closed.DialContext(t.Context(), "tcp", net.JoinHostPort(host, port)); !errors.Is(err, ErrRefused) {
			t.Errorf("connecting to %s: %v, %v, want it refused", host, conn, err)
		}
		open := net.Dialer{Control: DialControl(true)}
		conn, err := open.DialContext(t.Context(), "tcp", net.JoinHostPort(host, port))
		if err != nil {
			t.Errorf("connecting to %s: %v", host, err)
			continue
		}
		conn.Close()
	}
}

func FuzzDialControl(f *testing.F) {
	for text := range cases {
		f.Add(net.JoinHostPort(text, "80"))
	}
	control := DialControl(false)
	f.Fuzz(func(t *testing.T, address string) {
		if err := control("tcp", address, nil); err != nil {
			return
		}
		target, err := netip.ParseAddrPort(address)
		if err != nil || !target.Addr().IsGlobalUnicast() || target.Addr().Unmap().IsPrivate() || strings.Contains(address, "%") {
			t.Errorf("%q is allowed", address)
		}
	})
}

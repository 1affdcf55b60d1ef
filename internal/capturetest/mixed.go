package capturetest

import (
	"crypto/tls"
	"net/netip"
	"strings"
	"time"
)

// Mixed returns connections of many kinds, one after the other: plaintext and several TLS versions, with different
// client authentication, chain lengths, transfer sizes, segment sizes and ends.
func Mixed(start time.Time) (out []Frame, err error) {
	ca, err := NewAuthority()
	if err != nil {
		return nil, err
	}
	var certs [2]tls.Certificate
	for i, extra := range [...]int{7, 0} {
		if certs[i], err = ca.IssueChain(extra); err != nil {
			return nil, err
		}
	}

	n := 0
	add := func(talk *Conversation, mss int, reset bool) {
		out = append(out, talk.Packets(Options{
			Client: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(n >> 8), byte(n)}), 40000), Server: netip.MustParseAddrPort("10.2.0.1:8443"),
			MSS: mss, Start: start.Add(time.Duration(n) * 20 * time.Second), Reset: reset, ClientISN: 7 * uint32(n+1), ServISN: 1 << 31,
		})...)
		n++
	}
	sizes := [][2]int{{0, 5}, {10, 3000}, {100, 18000}, {100, 150000}, {2500, 5}, {70000, 100}, {200000, 200000}}
	for _, mss := range []int{1448, 8948, 16000, 33000, 65160} {
		for i, size := range sizes {
			plain, err := Record(HTTPClient(nil, size[0]), HTTPServer(nil, size[1]))
			if err != nil {
				return nil, err
			}
			add(plain, mss, i%3 == 0)
			for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
				for auth := range tls.RequireAndVerifyClientCert + 1 {
					certs := certs[i%2 : i%2+1]
					server := &tls.Config{Certificates: certs, ClientAuth: auth, ClientCAs: ca.Pool, MinVersion: version, MaxVersion: version} //nolint:gosec // the test needs old versions
					client := &tls.Config{InsecureSkipVerify: true, ServerName: "cart", DynamicRecordSizingDisabled: i%2 == 0}                 //nolint:gosec // the test judges the wire
					if auth > tls.NoClientCert && (i+int(auth))%3 > 0 {
						client.Certificates = certs
					}
					talk, _ := Record(HTTPClient(client, size[0]), HTTPServer(server, size[1])) // some handshakes are rejected
					add(talk, mss, i%3 == 0)
				}
			}
		}
	}
	return out, nil
}

// IssueChain issues a workload certificate. The argument extra is the number of further certificates that it adds to
// the chain, although verification does not need them.
func (a *Authority) IssueChain(extra int) (tls.Certificate, error) {
	cert, err := a.Issue("spiffe://cluster.local/ns/shop/sa/cart", "cart")
	for range extra {
		if err != nil {
			break
		}
		var more tls.Certificate
		if more, err = a.Issue("spiffe://cluster.local/ns/shop/sa/"+strings.Repeat("long", 100), "more"); err == nil {
			cert.Certificate = append(cert.Certificate, more.Certificate[0])
		}
	}
	return cert, err
}

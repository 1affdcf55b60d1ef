package main

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Numbers of handshake messages (RFC 8446, appendix B.3; RFC 5246, appendix A.4).
const (
	clientHello       = "1"
	serverHello       = "2"
	certificate       = "11"
	clientKeyExchange = "16"
)

// retryRandom is the random of a HelloRetryRequest, which is a ServerHello (RFC 8446, section 4.1.3).
const retryRandom = "cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c"

// stream collects the facts from tshark's packets of one connection. They come from the first ClientHello and from
// the ServerHello. If there is no ServerHello, they come from a HelloRetryRequest.
type stream struct {
	connection
	client       netip.AddrPort // the end that sent the ClientHello or received the ServerHello
	hello, reply bool           // these messages were seen
	certified    []netip.AddrPort
	keyed        bool // a ClientKeyExchange was seen
}

func (s *stream) packet(p packet, from netip.AddrPort, names suites) {
	for _, protocol := range []string{"tls", "dtls"} {
		prefix := protocol + ".handshake."
		types := p[prefix+"type"]
		if slices.Contains(types, clientHello) && !s.hello {
			s.hello, s.client = true, from
			s.values[serverName] = p.first(prefix + "extensions_server_name")
			s.values[alpn] = strings.Join(p[prefix+"extensions_alpn_str"], " ")
			s.values[ja3] = p.first(prefix + "ja3")
		}
		if slices.Contains(types, serverHello) && !s.reply {
			s.serverHello(p, prefix, from, names)
		}
		if slices.Contains(types, certificate) && p[prefix+"certificate"] != nil {
			s.certified = append(s.certified, from)
		}
		s.keyed = s.keyed || slices.Contains(types, clientKeyExchange)
	}
}

func (s *stream) serverHello(p packet, prefix string, from netip.AddrPort, names suites) {
	retry := p.first(prefix+"random") == retryRandom
	s.reply = !retry
	if !s.client.IsValid() {
		s.client = s.from
		if from == s.from {
			s.client = s.to
		}
	}
	number := p.first(prefix + "extensions.supported_version")
	if number == "" {
		number = p.first(prefix + "version")
	}
	s.values[version] = versionName(number)
	s.values[cipher] = names.name(p.first(prefix + "ciphersuite"))
	if !retry {
		s.values[ja3s] = p.first(prefix + "ja3s")
	}
}

// finish returns the connection. It is called after all packets of the connection.
func (s *stream) finish() *connection {
	if !s.client.IsValid() {
		s.client = s.from
	}
	for _, from := range s.certified {
		if from == s.client {
			s.values[clientCert] = "yes"
		} else {
			s.values[serverCert] = "yes"
		}
	}
	if s.keyed && s.values[clientCert] == "" {
		s.values[clientCert] = "no"
	}
	return &s.connection
}

// versionName returns a version as the tap writes it. Drafts of TLS 1.3 are called 1.3.
func versionName(number string) string {
	n, err := strconv.ParseUint(number, 0, 16)
	switch {
	case err != nil:
		return number
	case n == 0x0002:
		return "ssl 2.0"
	case n == 0x0300:
		return "ssl 3.0"
	case n > 0x0300 && n <= 0x0304:
		return fmt.Sprintf("1.%d", n-0x0301)
	case n>>8 == 0x7f || n>>8 == 0x7e || n>>8 == 0xfb: // drafts of the IETF, experiments of Google and Facebook
		return "1.3"
	case n == 0xfeff:
		return "dtls 1.0"
	case n == 0xfefd:
		return "dtls 1.2"
	case n == 0xfefc:
		return "dtls 1.3"
	}
	return number
}

// suites maps the numbers of cipher suites to tshark's names. It includes some suites of drafts. The registry does not
// have these, so the tap shows them as numbers.
type suites map[uint64]string

// name returns the name of a suite from its number. It returns anything else unchanged.
func (names suites) name(number string) string {
	n, err := strconv.ParseUint(number, 0, 16)
	if name := names[n]; err == nil && name != "" {
		return name
	}
	return number
}

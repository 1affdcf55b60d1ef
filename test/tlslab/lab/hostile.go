package main

import (
	"encoding/binary"
	"errors"
	"strings"
)

// liars returns cases with a client that has no certificate but imitates a client that has one. It pads its Finished.
// It also makes the server keep its records small (RFC 6066, section 4; RFC 8449), so that the server's flight looks
// like one with a CertificateRequest.
func liars() []testCase {
	var all []testCase
	for _, c := range []testCase{
		{server: "OpenSSL", srv: endpoint{cert: "srv-rsa"}, cli: endpoint{options: []string{"pad=400", "fragment=1"}}},
		{server: "wolfSSL", srv: endpoint{cert: "srv-rsa"}, cli: endpoint{options: []string{"pad=400", "fragment=1"}}},
		{server: "JSSE", srv: endpoint{cert: "srv"}, cli: endpoint{options: []string{"pad=400", "fragment=1"}}},
		{server: "GnuTLS", srv: endpoint{cert: "srv-rsa"}, cli: endpoint{options: []string{"pad=400", "limit=512"}}},
	} {
		c.client, c.name, c.want, c.note = "tlslite-ng", "fragment-pad-oneway", want{auth: "not_requested"}, mayAbstain+"records are padded"
		c.what = "a client that pads its Finished and makes the server cut its flight"
		c.played = `played padding 22 \d+ 400`
		all = append(all, c)
	}
	return all
}

// contexts returns cases with a server whose CertificateRequest has a certificate_request_context. In a handshake the
// context must be empty (RFC 8446, section 4.3.2). Some clients echo it in their empty Certificate, Mbed TLS ignores
// it, and others abort the handshake.
func contexts() []testCase {
	var all []testCase
	add := func(client, size string, w want, answer string, options ...string) {
		all = append(all, testCase{
			server: "tlslite-ng", client: client, name: "context" + size, what: "a server that asks with a certificate_request_context of " + size + " bytes",
			srv: endpoint{auth: "optional", options: []string{"context=" + size}}, cli: endpoint{options: options}, want: w,
			note: mayAbstain + "an empty Certificate with a context may be as large as another message", played: "played context " + size + answer,
		})
	}

	accepts, refuses := want{auth: "declined"}, want{outcome: "failed"}
	for _, size := range []string{"44", "150", "250", "255"} {
		add("OpenSSL", size, accepts, "")
	}
	add("OpenSSL", "28", accepts, "", "-ciphersuites TLS_AES_128_GCM_SHA256")
	for _, client := range []string{"JSSE", "Node", "OpenSSL 4", "Mbed TLS 3"} {
		add(client, "255", accepts, "")
	}
	for _, client := range []string{"rustls", "Bouncy Castle", "Conscrypt", "s2n"} {
		add(client, "255", refuses, "")
	}
	for _, client := range []string{"GnuTLS", "NSS", "Go", "wolfSSL", "Botan"} { // these clients send an alert, which the server's log must show
		add(client, "255", refuses, "\ntruth .*error=TLSRemoteAlert (decode_error|illegal_parameter)\n")
	}
	return all
}

// silent returns cases with a server that sends neither data nor tickets, like a syslog server (RFC 5425).
func silent() []testCase {
	const note = mayAbstain + "the server sends nothing"
	mutual, oneWay := want{auth: "presented"}, want{auth: "not_requested"}
	var all []testCase
	for _, c := range []testCase{
		{server: "Go", name: "sink-mutual", srv: endpoint{auth: "required", options: []string{"noticket", "sink"}}, cli: endpoint{cert: "cli", options: []string{"lines=7"}}, want: mutual},
		{server: "Go", name: "sink-declined", srv: endpoint{auth: "optional", options: []string{"noticket", "sink"}}, cli: endpoint{options: []string{"lines=3"}}, want: want{auth: "declined"}},
		{server: "Go", name: "sink-oneway", srv: endpoint{options: []string{"noticket", "sink"}}, cli: endpoint{options: []string{"lines=1"}}, want: oneWay},
		{server: "Go", name: "sink-upload-mutual", srv: endpoint{auth: "required", options: []string{"noticket", "sink"}}, cli: endpoint{cert: "cli", options: []string{"upload=80000"}}, want: mutual},
		{server: "Go", name: "sink-closes-mutual", what: "a silent server that closes first", srv: endpoint{auth: "required", options: []string{"noticket", "sink=700"}}, cli: endpoint{cert: "cli", options: []string{"lines=30"}}, want: mutual},
		{server: "OpenSSL", name: "sink-mutual", srv: endpoint{auth: "required", options: []string{"s_server: typed to", "-num_tickets 0"}}, cli: endpoint{cert: "cli", options: []string{"lines=7"}}, want: mutual},
	} {
		c.client, c.note = "Go", note
		if c.server == "Go" {
			c.played = `played sink [1-9]`
		}
		all = append(all, c)
	}
	return all
}

// newer returns cases with the OpenSSL of current Python wheels and of Node, and with other recent stacks. Since
// version 3.4 OpenSSL can pad records, to blocks of any size; it can also pad only the handshake. Some cases use this
// padding.
func newer() []testCase {
	var all []testCase
	for _, s := range []string{"OpenSSL 4", "Node"} {
		for _, c := range few(s, s) {
			if c.want.resumed && s == "OpenSSL 4" { // pyOpenSSL does not report whether a session was resumed
				continue
			}
			all = append(all, c)
		}
	}
	for _, pair := range [][2]string{{"Bouncy Castle", "Bouncy Castle"}, {"Conscrypt", "Conscrypt"}, {"s2n", "s2n"}, {"rustls aws-lc", "rustls aws-lc"}, {"s2n", "rustls aws-lc"}, {"s2n", "Conscrypt"}, {"s2n", "OpenSSL 4"}, {"OpenSSL 4", "s2n"}, {"Conscrypt", "rustls aws-lc"}} {
		list := without(few(pair[0], pair[1]), "old-resume-mutual")
		switch {
		case pair[0] != pair[1] || pair[0] == "Bouncy Castle" || pair[0] == "Conscrypt": // in these pairs the server's log does not report resumptions
			list = without(list, "resume-oneway", "resume-mutual")
		case pair[0] == "s2n": // s2n does not resume mutual sessions
			list = without(list, "resume-mutual")
		}
		all = append(all, list...)
	}
	for _, p := range []string{"0:512", "0:333", "512:0", "512:512"} {
		for _, c := range []testCase{
			{name: "oneway", want: want{auth: "not_requested"}},
			{name: "declined", srv: endpoint{auth: "optional"}, want: want{auth: "declined"}},
			{name: "mutual", srv: endpoint{auth: "required"}, cli: endpoint{cert: "cli"}, want: want{auth: "presented"}},
		} {
			c.server, c.client, c.name = "rustls", "Node", "padding-"+strings.ReplaceAll(p, ":", "-")+"-"+c.name
			c.cli.options, c.note = []string{"padding=" + p}, mayAbstain+"records are padded"
			if p == "512:0" {
				c.note = ""
			}
			c.played = `played padding \d+,\d+, OpenSSL (3\.[4-9]|[4-9])`
			all = append(all, c)
		}
	}
	return all
}

// older returns cases with two clients that have the same address. The full handshake of the first client, which has no
// certificate, takes place before the capture starts. The second client has a certificate. Then the first client
// resumes its session.
func older() []testCase {
	var all []testCase
	for _, c := range []testCase{
		{server: "OpenSSL", srv: endpoint{options: []string{"-no_ticket"}}},
		{server: "OpenSSL", name: "older-stateless"},
		{server: "wolfSSL"},
		{server: "Go"},
	} {
		if c.name == "" {
			c.name = "older"
		}
		c.client, c.what, c.note = "Go", "a client without a certificate resumes from before the capture, another one was mutual in it", mayAbstain+"its full handshake is not in the capture"
		c.srv.auth, c.srv.n = "optional", 3
		c.cli = endpoint{cert: "cli", n: 3, options: []string{"older", "once"}}
		c.older, c.want, c.auth = 1, want{auth: "presented", resumed: true}, []string{"declined", "presented", "declined"}
		all = append(all, c)
	}
	return all
}

// cutOlder returns a capture without its first connections; without is their number. The capture must be a pcap file
// in little endian with Ethernet frames that carry TCP over IPv4.
func cutOlder(b []byte, without int) ([]byte, error) {
	const fileHeader, packetHeader, ethernet = 24, 16, 14
	if without == 0 {
		return b, nil
	}

	var gone []uint16
	out := append([]byte(nil), b[:fileHeader]...)
	for at := fileHeader; at < len(b); {
		if at+packetHeader > len(b) {
			return nil, errors.New("the capture ends in a packet header")
		}
		n := packetHeader + int(binary.LittleEndian.Uint32(b[at+8:]))
		packet := b[at:min(at+n, len(b))]
		at += n
		ip := packet[packetHeader+ethernet:]
		tcp := ip[int(ip[0]&15)*4:]
		client := binary.BigEndian.Uint16(tcp)
		if client == 8443 {
			client = binary.BigEndian.Uint16(tcp[2:])
		}
		known := false
		for _, p := range gone {
			known = known || p == client
		}
		switch {
		case known:
		case len(gone) < without:
			gone = append(gone, client)
		default:
			out = append(out, packet...)
		}
	}
	return out, nil
}

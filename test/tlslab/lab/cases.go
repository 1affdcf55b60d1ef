package main

import (
	"regexp"
	"strings"
)

// want is the result that a case must have. outcome is the outcome of its last connection.
type want struct {
	auth    string
	outcome string // default "established"
	resumed bool   // whether the last connection resumes a session
	early   bool   // whether the last connection has early data
}

// testCase is a conversation of two stacks.
type testCase struct {
	server, client string
	name           string
	what           string
	srv, cli       endpoint
	want           want
	script         script
	note           string
	auth           []string // row.auth of each connection; nil if it follows from the server's log
	played         string   // if set, a peer's log must match this pattern: it shows that the case was played
	older          int      // number of connections that take place before the capture starts
}

func (c testCase) connections() int { return c.cli.count() }

// file returns the name of the capture without its extension.
func (c testCase) file() string {
	tidy := func(s string) string {
		return strings.ToLower(strings.NewReplacer(" ", "", "-ng", "", "-impersonate", "x", "-lc", "").Replace(s))
	}
	if c.server == c.client {
		return tidy(c.server) + "/" + c.name
	}
	return tidy(c.client) + "-" + tidy(c.server) + "/" + c.name
}

// cases returns all cases. They run in this order.
func cases() []testCase {
	var all []testCase
	add := func(c testCase) {
		if c.want.outcome == "" {
			c.want.outcome = "established"
		}
		if c.client == "curl-impersonate" && c.want.resumed {
			c.note = mayAbstain + "ECH is offered, so the name may be another"
		}
		if c.client == "tlslite-ng" && c.want.auth == "declined" {
			c.note = mayAbstain + "its empty Certificate is 16 bytes larger than others'"
		}
		shortTickets := c.server == "Erlang" || c.server == "wolfSSL" || c.server == "Mbed TLS 3" || c.server == "Botan"
		if shortTickets && c.name == "resume-mutual" || c.name == "stateful-resume-mutual" || c.server == "rustls" && c.name == "early-mutual" {
			c.note = mayAbstain + "its tickets hold no certificate"
		}
		if c.what == "" {
			c.what = c.name
		}
		all = append(all, c)
	}

	for _, s := range []string{"Go", "OpenSSL", "GnuTLS", "JSSE", "rustls", "wolfSSL", "NSS", "tlslite-ng"} {
		for _, c := range common(s, s) {
			add(c)
		}
	}
	for _, pair := range [][2]string{{"Envoy", "Envoy"}, {"Envoy", "Go"}, {"nginx", "curl"}, {"nginx", "Go"}, {"HAProxy", "curl"}, {"stunnel", "stunnel"}} {
		for _, c := range few(pair[0], pair[1]) {
			add(c)
		}
	}
	for _, c := range without(common("Erlang", "Erlang"), "mutual-chain2", "mutual-chain3", "mutual-p384", "has-cert-not-asked", "wrong-ca", "old-oneway", "old-declined", "old-missing", "old-expired", "old-resume-oneway", "old-resume-mutual") {
		add(c)
	}
	for _, pair := range [][2]string{
		{"Envoy", "OpenSSL"}, {"Envoy", "curl-impersonate"}, {"Go", "Envoy"}, {"Go", "JSSE"}, {"Go", "NSS"}, {"Go", "Mbed TLS"},
		{"Go", "curl-impersonate"}, {"rustls", "Go"}, {"NSS", "GnuTLS"},
	} {
		for _, c := range few(pair[0], pair[1]) {
			if c.name == "mutual" || c.name == "resume-mutual" && pair[0] != "NSS" || c.name == "old-mutual" && pair[1] == "Mbed TLS" {
				add(c)
			}
		}
	}

	for _, list := range [][]testCase{suites(), padding(), limits(), retries(), early(), later(), keys(), odd(), liars(), contexts(), silent(), newer(), older(), carried()} {
		for _, c := range list {
			add(c)
		}
	}
	return all
}

// common returns the cases that every stack plays with itself.
func common(server, client string) []testCase {
	c := few(server, client)
	base := testCase{server: server, client: client}
	with := func(name string, srv, cli endpoint, w want) {
		x := base
		if client == "Go" {
			cli.options = []string{"x25519"} // makes the client's hellos smaller
		}
		x.name, x.srv, x.cli, x.want = name, srv, cli, w
		c = append(c, x)
	}
	required, mutual := endpoint{auth: "required"}, want{auth: "presented"}
	with("has-cert-not-asked", endpoint{}, endpoint{cert: "cli"}, want{auth: "not_requested"})
	with("mutual-rsa", endpoint{auth: "required", cert: "srv-rsa"}, endpoint{cert: "cli-rsa"}, mutual)
	with("mutual-p384", required, endpoint{cert: "cli-p384"}, mutual)
	if server != "NSS" && server != "JSSE" && server != "tlslite-ng" && server != "wolfSSL" {
		with("mutual-ed25519", required, endpoint{cert: "cli-ed25519"}, mutual)
	}
	with("mutual-chain2", endpoint{auth: "required", cert: "srv-chain2"}, endpoint{cert: "cli-chain2"}, mutual)
	with("mutual-chain3", required, endpoint{cert: "cli-chain3"}, mutual)
	with("expired", required, endpoint{cert: "cli-expired"}, want{outcome: "failed"})
	if client != "Go" {
		with("wrong-ca", required, endpoint{cert: "cli-other"}, want{outcome: "failed"})
	}
	with("old-declined", endpoint{old: true, auth: "optional"}, endpoint{old: true}, want{auth: "declined"})
	with("old-missing", endpoint{old: true, auth: "required"}, endpoint{old: true}, want{outcome: "failed"})
	with("old-expired", endpoint{old: true, auth: "required"}, endpoint{old: true, cert: "cli-expired"}, want{outcome: "failed"})
	with("old-resume-oneway", endpoint{old: true, n: 2}, endpoint{old: true, n: 2}, want{auth: "not_requested", resumed: true})
	if server == "tlslite-ng" { // tlslite-ng verifies nothing, and it cannot require a certificate that it requests
		c = without(c, "expired", "wrong-ca", "old-expired", "mutual-p384", "mutual-chain3", "missing", "old-missing", "resume-oneway", "resume-mutual", "old-resume-oneway", "old-resume-mutual")
	}
	return c
}

func without(list []testCase, names ...string) []testCase {
	var out []testCase
	for _, c := range list {
		keep := true
		for _, n := range names {
			keep = keep && c.name != n
		}
		if keep {
			out = append(out, c)
		}
	}
	return out
}

// few returns the cases that pairs of stacks play.
func few(server, client string) []testCase {
	base := testCase{server: server, client: client}
	var c []testCase
	with := func(name string, srv, cli endpoint, w want) {
		x := base
		x.name, x.srv, x.cli, x.want = name, srv, cli, w
		c = append(c, x)
	}
	modern, old := client != "Mbed TLS", true
	if client == "curl-impersonate" { // a browser does not resume a session that it closed in the same process
		old = false
	}
	if modern {
		with("oneway", endpoint{}, endpoint{}, want{auth: "not_requested"})
		with("declined", endpoint{auth: "optional"}, endpoint{}, want{auth: "declined"})
		with("missing", endpoint{auth: "required"}, endpoint{}, want{outcome: "failed"})
		with("mutual", endpoint{auth: "required"}, endpoint{cert: "cli"}, want{auth: "presented"})
		with("resume-oneway", endpoint{n: 2}, endpoint{n: 2}, want{auth: "not_requested", resumed: true})
		with("resume-mutual", endpoint{auth: "required", n: 2}, endpoint{cert: "cli", n: 2}, want{auth: "presented", resumed: true})
	}
	if old {
		with("old-oneway", endpoint{old: true}, endpoint{old: true}, want{auth: "not_requested"})
		with("old-mutual", endpoint{old: true, auth: "required"}, endpoint{old: true, cert: "cli"}, want{auth: "presented"})
		with("old-resume-mutual", endpoint{old: true, auth: "required", n: 2}, endpoint{old: true, cert: "cli", n: 2}, want{auth: "presented", resumed: true})
	}

	switch { // these clients do not resume sessions of that server
	case server == "HAProxy" && client == "curl":
		c = without(c, "resume-oneway", "resume-mutual", "old-resume-mutual")
	case client == "curl" || client == "Mbed TLS" || server == "Go" && (client == "JSSE" || client == "wolfSSL"):
		c = without(c, "old-resume-mutual")
	}

	if server == "nginx" { // nginx continues without a certificate, and responds with status 400
		for i := range c {
			if c[i].name == "missing" {
				c[i].want = want{auth: "declined"}
			}
		}
	}
	return c
}

// suites returns the cases for cipher suites of TLS 1.3.
func suites() []testCase {
	var all []testCase
	for _, s := range []string{"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_128_CCM_SHA256", "TLS_AES_128_CCM_8_SHA256"} {
		o := []string{"-ciphersuites " + s}
		name := strings.ToLower(strings.NewReplacer("TLS_", "", "_SHA256", "", "_SHA384", "", "_", "").Replace(s))
		for _, c := range []testCase{
			{name: name + "-oneway", want: want{auth: "not_requested"}},
			{name: name + "-declined", srv: endpoint{auth: "optional"}, want: want{auth: "declined"}},
			{name: name + "-mutual", srv: endpoint{auth: "required"}, cli: endpoint{cert: "cli"}, want: want{auth: "presented"}},
			{name: name + "-expired", srv: endpoint{auth: "required"}, cli: endpoint{cert: "cli-expired"}, want: want{outcome: "failed"}},
		} {
			if c.want.outcome == "failed" && !strings.Contains(s, "CCM_8") {
				continue
			}
			c.server, c.client, c.srv.options, c.cli.options = "OpenSSL", "OpenSSL", o, o
			all = append(all, c)
		}
		if strings.Contains(s, "CCM") || strings.Contains(s, "256_GCM") {
			continue
		}
		for _, c := range []testCase{
			{name: name + "-oneway", want: want{auth: "not_requested"}},
			{name: name + "-mutual", srv: endpoint{auth: "required"}, cli: endpoint{cert: "cli"}, want: want{auth: "presented"}},
		} {
			c.server, c.client, c.srv.options, c.cli.options = "rustls", "rustls", []string{s}, []string{s}
			all = append(all, c)
			c.server, c.client = "JSSE", "JSSE"
			all = append(all, c)
		}
	}
	return all
}

const mayAbstain = "may abstain: "

// padding returns cases with padded records. One end pads them, or both.
func padding() []testCase {
	var all []testCase
	for _, x := range [][2]string{{"both", "512"}, {"client", "512"}, {"client", "300"}, {"server", "512"}} {
		{
			who, block := x[0], x[1]
			for _, c := range []testCase{
				{name: "oneway", want: want{auth: "not_requested"}},
				{name: "declined", srv: endpoint{auth: "optional"}, want: want{auth: "declined"}},
				{name: "mutual", srv: endpoint{auth: "required"}, cli: endpoint{cert: "cli"}, want: want{auth: "presented"}},
				{name: "expired", srv: endpoint{auth: "required"}, cli: endpoint{cert: "cli-expired"}, want: want{outcome: "failed"}},
			} {
				c.server, c.client, c.name, c.note = "OpenSSL", "OpenSSL", "pad"+block+"-"+who+"-"+c.name, mayAbstain+"records are padded"
				o := []string{"-record_padding " + block}
				if who != "client" {
					c.srv.options = o
				}
				if who != "server" {
					c.cli.options = o
				}
				all = append(all, c)
			}
		}
	}
	for _, c := range []testCase{
		{server: "OpenSSL", name: "pad-random-oneway", cli: endpoint{options: []string{"pad=random"}}, want: want{auth: "not_requested"}},
		{server: "tlslite-ng", name: "pad-random-mutual", srv: endpoint{auth: "optional"}, cli: endpoint{cert: "cli", options: []string{"pad=random"}}, want: want{auth: "presented"}},
		{server: "OpenSSL", name: "pad-finished-oneway", what: "a client that pads its Finished to the size of a certificate's flight", cli: endpoint{options: []string{"pad=finished"}}, want: want{auth: "not_requested"}},
		{server: "Go", name: "pad-finished-oneway", what: "a client that pads its Finished to the size of a certificate's flight", cli: endpoint{options: []string{"pad=finished"}}, want: want{auth: "not_requested"}},
	} {
		c.client, c.note, c.played = "tlslite-ng", mayAbstain+"records are padded", `played padding 22 \d+ \d+`
		all = append(all, c)
	}
	return all
}

// limits returns cases with small records (RFC 8449; RFC 6066, section 4), and cases with compressed certificates
// (RFC 8879).
func limits() []testCase {
	both := func(stack, name string, srv, cli []string, note string) []testCase {
		var all []testCase
		for _, c := range []testCase{
			{name: name + "-oneway", want: want{auth: "not_requested"}},
			{name: name + "-declined", srv: endpoint{auth: "optional"}, want: want{auth: "declined"}},
			{name: name + "-mutual", srv: endpoint{auth: "optional"}, cli: endpoint{cert: "cli"}, want: want{auth: "presented"}},
		} {
			c.server, c.client, c.srv.options, c.cli.options, c.note = stack, stack, srv, cli, note
			all = append(all, c)
		}
		return all
	}
	var all []testCase
	all = append(all, both("GnuTLS", "limit512", []string{"--recordsize", "512"}, nil, "")...)
	all = append(all, both("OpenSSL", "frag512", []string{"-max_send_frag 512"}, []string{"-max_send_frag 512"}, "")...)
	all = append(all, both("rustls", "frag100", []string{"frag=100"}, []string{"frag=100"}, mayAbstain+"records of 100 bytes")...)
	all = append(all, both("tlslite-ng", "limit64", []string{"limit=64"}, []string{"limit=64"}, mayAbstain+"records of 64 bytes")...)
	all = append(all, both("GnuTLS", "compressed", []string{"--compress-cert=ZLIB"}, []string{"--compress-cert=ZLIB"}, "")...)
	return all
}

func retries() []testCase {
	var all []testCase
	for _, stack := range []string{"OpenSSL", "Go", "rustls"} {
		o := [2][]string{{"hrr-server"}, {"hrr-client"}}
		if stack == "OpenSSL" {
			o = [2][]string{{"-groups P-384"}, {"-groups X25519:P-384"}}
		}
		for _, c := range []testCase{
			{name: "retry-oneway", want: want{auth: "not_requested"}},
			{name: "retry-mutual", srv: endpoint{auth: "required"}, cli: endpoint{cert: "cli"}, want: want{auth: "presented"}},
		} {
			c.server, c.client, c.srv.options, c.cli.options = stack, stack, o[0], o[1]
			all = append(all, c)
		}
	}
	for _, c := range []testCase{
		{name: "no-ccs-oneway", want: want{auth: "not_requested"}},
		{name: "no-ccs-mutual", srv: endpoint{auth: "required"}, cli: endpoint{cert: "cli"}, want: want{auth: "presented"}},
	} {
		c.server, c.client, c.srv.options, c.cli.options = "OpenSSL", "OpenSSL", []string{"-no_middlebox"}, []string{"-no_middlebox"}
		all = append(all, c)
	}
	return all
}

// early returns cases with 0-RTT data, accepted and rejected.
func early() []testCase {
	var all []testCase
	for _, c := range []testCase{
		{name: "oneway", want: want{auth: "not_requested"}},
		{name: "mutual", srv: endpoint{auth: "required"}, cli: endpoint{cert: "cli"}, want: want{auth: "presented"}},
	} {
		c.srv.n, c.cli.n = 2, 2
		x := c
		x.server, x.client, x.name, x.want.resumed, x.want.early = "OpenSSL", "OpenSSL", "early-"+c.name, true, true
		x.srv.options, x.cli.options = []string{"s_server: typed to", "-early_data", "-no_anti_replay"}, []string{"early"}
		x.script = script{client: []string{request}, server: []string{"lab-pong\n"}, ready: regexp.MustCompile(`GET /ping`)}
		all = append(all, x)
		x.name, x.want.early, x.want.resumed = "early-refused-"+c.name, false, false
		x.srv.options = []string{"s_server: typed to", "-early_data"}
		x.auth = []string{c.want.auth, c.want.auth}
		all = append(all, x)
		x = c
		x.server, x.client, x.name, x.want.resumed, x.want.early = "rustls", "rustls", "early-"+c.name, true, true
		x.srv.options, x.cli.options = []string{"early"}, []string{"early"}
		all = append(all, x)
	}
	return all
}

// later returns cases in which the server requests a client certificate after the handshake, and cases with an
// external PSK.
func later() []testCase {
	const note = mayAbstain + "asked for after the handshake"
	typed := []string{"s_server: typed to"}
	psk := []string{"-psk 00112233445566778899aabbccddeeff", "-psk_identity lab", "-ciphersuites TLS_AES_128_GCM_SHA256"}
	return []testCase{
		{server: "OpenSSL", client: "OpenSSL", name: "later-presented", srv: endpoint{options: typed}, cli: endpoint{cert: "cli", options: []string{"-enable_pha"}}, auth: []string{"presented"}, note: note,
			script: script{client: []string{request}, server: []string{"c\n", "lab-pong\n"}, ready: regexp.MustCompile(`GET /ping`)}},
		{server: "OpenSSL", client: "OpenSSL", name: "later-offered", what: "post-handshake authentication is offered and not used", cli: endpoint{cert: "cli", options: []string{"-enable_pha"}}, want: want{auth: "not_requested"}},
		{server: "OpenSSL", client: "OpenSSL", name: "later-offered-mutual", srv: endpoint{auth: "required"}, cli: endpoint{cert: "cli", options: []string{"-enable_pha"}}, want: want{auth: "presented"}},
		{server: "OpenSSL", client: "OpenSSL", name: "old-renegotiated", what: "a certificate asked for by renegotiation", srv: endpoint{old: true, options: typed}, cli: endpoint{old: true, cert: "cli"}, auth: []string{"presented"}, note: note,
			script: script{client: []string{request}, server: []string{"R\n", "lab-pong\n"}, ready: regexp.MustCompile(`GET /ping`)}},
		{server: "wolfSSL", client: "wolfSSL", name: "later-presented", srv: endpoint{options: []string{"pha"}}, cli: endpoint{cert: "cli", options: []string{"pha"}}, auth: []string{"presented"}, note: note},
		{server: "OpenSSL", client: "OpenSSL", name: "psk", what: "an external PSK, no certificates", srv: endpoint{options: append([]string{"-nocert"}, psk...)}, cli: endpoint{options: psk}, want: want{resumed: true}, auth: []string{""}, note: mayAbstain + "an external PSK"},
		{server: "NSS", client: "NSS", name: "psk", what: "an external PSK", srv: endpoint{options: []string{"-z", "0xAAAABBBBCCCCDDDD:lab"}}, cli: endpoint{options: []string{"-z", "0xAAAABBBBCCCCDDDD:lab"}}, auth: []string{""}, note: mayAbstain + "an external PSK"},
	}
}

// keys returns cases with kinds of keys that only some stacks support.
func keys() []testCase {
	var all []testCase
	for _, s := range []string{"Go"} {
		for _, k := range []string{"p521", "rsa4096"} {
			all = append(all, testCase{server: s, client: s, name: "mutual-" + k, srv: endpoint{auth: "required"}, cli: endpoint{cert: "cli-" + k}, want: want{auth: "presented"}})
		}
	}
	return all
}

// sessions makes nginx store sessions. Otherwise nginx would send each session to the client in a ticket.
var sessions = []string{"ssl_session_cache shared:lab:1m;", "ssl_session_tickets off;"}

// odd returns cases that belong to no other group.
func odd() []testCase {
	return []testCase{
		{server: "Go", client: "Go", name: "no-sni-mutual", srv: endpoint{auth: "required"}, cli: endpoint{cert: "cli", options: []string{"nosni"}}, want: want{auth: "presented"}},
		{server: "Go", client: "Go", name: "small-hello-mutual", srv: endpoint{auth: "required"}, cli: endpoint{cert: "cli", options: []string{"x25519"}}, want: want{auth: "presented"}},
		{server: "Go", client: "Go", name: "wrong-ca", srv: endpoint{auth: "required"}, cli: endpoint{cert: "cli-other", options: []string{"always"}}, want: want{outcome: "failed"}},
		{server: "Go", client: "Go", name: "not-sent", what: "a certificate of an authority that the server does not name is not sent", srv: endpoint{auth: "required"}, cli: endpoint{cert: "cli-other"}, want: want{auth: "declined", outcome: "failed"}},
		{server: "Go", client: "Go", name: "server-refused", srv: endpoint{auth: "required", cert: "srv-other"}, cli: endpoint{cert: "cli", refuses: "unknown authority"}, want: want{outcome: "failed"}},
		{server: "OpenSSL", client: "OpenSSL", name: "server-refused", srv: endpoint{auth: "required", cert: "srv-other"}, cli: endpoint{cert: "cli", refuses: "unknown authority"}, want: want{outcome: "failed"}},
		{server: "nginx", client: "curl", name: "unverified", what: "nginx finishes the handshake with a certificate of an unknown authority and answers 400", srv: endpoint{auth: "required"}, cli: endpoint{cert: "cli-other"}, want: want{auth: "presented"}, note: "unverified"},
		{server: "Go", client: "Go", name: "shared-address", what: "two clients behind one address, of which one is mutual, and then each resumes", srv: endpoint{auth: "optional", n: 4}, cli: endpoint{cert: "cli", n: 4, options: []string{"shared"}},
			want: want{auth: "presented", resumed: true}, auth: []string{"presented", "declined", "presented", "declined"}, note: mayAbstain + "two clients share an address"},
		{server: "Go", client: "Go", name: "old-shared-address", what: "the same of TLS 1.2", srv: endpoint{old: true, auth: "optional", n: 4}, cli: endpoint{old: true, cert: "cli", n: 4, options: []string{"shared"}},
			want: want{auth: "presented", resumed: true}, auth: []string{"presented", "declined", "presented", "declined"}},
		{server: "nginx", client: "OpenSSL", name: "old-session-id-mutual", srv: endpoint{old: true, auth: "required", n: 2, options: sessions}, cli: endpoint{old: true, cert: "cli", n: 2, options: []string{"-no_ticket"}}, want: want{auth: "presented", resumed: true}},
		{server: "nginx", client: "OpenSSL", name: "old-session-id-oneway", srv: endpoint{old: true, n: 2, options: sessions}, cli: endpoint{old: true, n: 2, options: []string{"-no_ticket"}}, want: want{auth: "not_requested", resumed: true}},
		{server: "nginx", client: "OpenSSL", name: "stateful-resume-mutual", what: "tickets that are numbers of sessions", srv: endpoint{auth: "required", n: 2, options: sessions}, cli: endpoint{cert: "cli", n: 2}, want: want{auth: "presented", resumed: true}},
		{server: "OpenSSL", client: "tlslite-ng", name: "keyupdate-oneway", cli: endpoint{options: []string{"keyupdate"}}, want: want{auth: "not_requested"}},
		{server: "Envoy", client: "Envoy", name: "retry-mutual", srv: endpoint{auth: "required", options: []string{"ecdh_curves=P-256"}}, cli: endpoint{cert: "cli", options: []string{"ecdh_curves=X25519,P-256"}}, want: want{auth: "presented"}},
		{server: "Envoy", client: "Envoy", name: "mutual-rsa", srv: endpoint{auth: "required", cert: "srv-rsa"}, cli: endpoint{cert: "cli-rsa"}, want: want{auth: "presented"}},
		{server: "Envoy", client: "Envoy", name: "mutual-chain3", srv: endpoint{auth: "required"}, cli: endpoint{cert: "cli-chain3"}, want: want{auth: "presented"}},
		{server: "Envoy", client: "Envoy", name: "expired", srv: endpoint{auth: "required"}, cli: endpoint{cert: "cli-expired"}, want: want{outcome: "failed"}},
		{server: "Envoy", client: "Envoy", name: "wrong-ca", srv: endpoint{auth: "required"}, cli: endpoint{cert: "cli-other"}, want: want{outcome: "failed"}},
	}
}

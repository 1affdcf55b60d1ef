package main

// carried returns the cases of Mbed TLS 3 and Botan 3. The C and C++ sources of these stacks come from Rust crates that
// contain them (see run.sh). Mbed TLS pads the records of TLS 1.3 to multiples of 16 bytes. Neither stack signs with
// Ed25519 keys.
func carried() []testCase {
	var all []testCase
	for _, s := range []string{"Mbed TLS 3", "Botan"} {
		all = append(all, without(common(s, s), "mutual-ed25519")...)
		for _, other := range []string{"Go", "OpenSSL"} {
			all = append(all, withRefused(s, other)...)
			all = append(all, withRefused(other, s)...)
		}
		all = append(all,
			testCase{server: s, client: s, name: "retry-oneway", srv: endpoint{options: []string{"hrr-server"}}, cli: endpoint{options: []string{"hrr-client"}}, want: want{auth: "not_requested"}},
			testCase{server: s, client: s, name: "retry-mutual", srv: endpoint{auth: "required", options: []string{"hrr-server"}}, cli: endpoint{cert: "cli", options: []string{"hrr-client"}}, want: want{auth: "presented"}},
			testCase{server: s, client: "tlslite-ng", name: "pad-finished-oneway", what: "a client that pads its Finished to the size of a certificate's flight", cli: endpoint{options: []string{"pad=finished"}},
				want: want{auth: "not_requested"}, note: mayAbstain + "records are padded", played: `played padding 22 \d+ \d+`},
		)
	}
	all = append(all, withRefused("Mbed TLS 3", "Botan")...)
	all = append(all, withRefused("Botan", "Mbed TLS 3")...)
	for _, c := range withRefused("OpenSSL", "Mbed TLS 3") { // the client's default hello, which resembles OpenSSL's
		if !c.cli.old {
			c.name, c.what, c.cli.options = "both-"+c.name, "a client that offers TLS 1.2 as well: "+c.name, []string{"both"}
			if c.want.resumed {
				c.note = mayAbstain + "with a ticket of TLS 1.3 it no longer offers TLS 1.2, so its hello is another"
			}
			all = append(all, c)
		}
	}
	stateless := endpoint{auth: "required", n: 2, options: []string{"stateless"}}
	return append(all, testCase{server: "Botan", client: "Botan", name: "stateless-resume-mutual", srv: stateless, cli: endpoint{cert: "cli", n: 2}, want: want{auth: "presented", resumed: true}})
}

// withRefused returns the usual cases of a pair, and two more with a client certificate that the server refuses. With
// a Go client there is only one more: it sends no certificate to a server that does not name the certificate's
// authority.
func withRefused(server, client string) []testCase {
	all := few(server, client)
	if server == "Botan" && client == "Go" { // the pair does not resume by session id
		all = without(all, "old-resume-mutual")
	}
	for _, c := range common(server, client) {
		if c.name == "expired" || c.name == "wrong-ca" {
			all = append(all, c)
		}
	}
	return all
}

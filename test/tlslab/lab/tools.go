package main

import (
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// split splits a log into the parts of its connections; mark is the text with which each part begins.
func split(log, mark string) []string {
	return strings.Split(log, mark)[1:]
}

// first returns the first group of the first match of a pattern, or "" if nothing matches.
func first(pattern, text string) string {
	if m := regexp.MustCompile(pattern).FindStringSubmatch(text); m != nil {
		return strings.TrimSpace(m[len(m)-1])
	}
	return ""
}

// openssl returns OpenSSL's s_server and s_client. The server sends each line back reversed, unless its options make
// it interactive.
func openssl() *stack {
	const talk = "s_server: typed to"
	return &stack{
		name: "OpenSSL", needs: []string{"openssl"}, release: output(`\d\.\d+\.\d+\S*`, "openssl", "version"),
		server: func(l *lab, e endpoint) []string {
			a := []string{"openssl", "s_server", "-accept", serverAddr + ":" + port, "-CAfile", l.certs.ca(), "-msg", "-naccept", strconv.Itoa(e.count()), "-tls" + strings.Replace(e.version(), ".", "_", 1)}
			options := strings.Join(e.options, " ")
			if !strings.Contains(options, "-nocert") {
				a = append(a, "-cert", l.certs.pem(e.serverCert()), "-key", l.certs.key(e.serverCert()))
				a = append(a, chainOf(l, e.serverCert())...)
			}
			switch e.auth {
			case "optional":
				a = append(a, "-verify", "5", "-verify_return_error")
			case "required":
				a = append(a, "-Verify", "5", "-verify_return_error")
			}
			if !strings.Contains(options, talk) {
				a = append(a, "-rev")
			}
			return append(a, strings.Fields(strings.Replace(options, talk, "", 1))...)
		},
		said: saidByOpenSSL,
		client: func(l *lab, e endpoint) [][]string {
			var all [][]string
			for i := range e.count() {
				a := []string{"openssl", "s_client", "-connect", serverAddr + ":" + port, "-servername", serverName, "-quiet", "-ign_eof", "-tls" + strings.Replace(e.version(), ".", "_", 1), "-CAfile", l.certs.ca(), "-verify_return_error"}
				if e.cert != "" {
					a = append(a, "-cert", l.certs.pem(e.cert), "-key", l.certs.key(e.cert))
					a = append(a, chainOf(l, e.cert)...)
				}
				session := filepath.Join(l.work, "openssl.session")
				for _, o := range e.options {
					switch {
					case o == "early" && i == 0:
					case o == "early":
						a = append(a, "-early_data", filepath.Join(l.work, "early"))
					default:
						a = append(a, strings.Fields(o)...)
					}
				}
				switch {
				case e.n > 1 && i == 0:
					a = append(a, "-sess_out", session)
				case e.n > 1:
					a = append(a, "-sess_in", session)
				}
				all = append(all, a)
			}
			return all
		},
	}
}

// chainOf returns the arguments that name the intermediate certificates, or nil.
func chainOf(l *lab, name string) []string {
	if len(l.certs.sizes[name]) < 3 {
		return nil
	}
	return []string{"-cert_chain", l.certs.above(name)}
}

// saidByOpenSSL reads the output of the option -msg, which shows the messages in plaintext.
func saidByOpenSSL(log string) []seen {
	var all []seen
	log = regexp.MustCompile(`(?m)^ .*\n`).ReplaceAllString(log, "") // removes hex dumps
	log = strings.ReplaceAll(log, "Alert [length 0002], warning close_notify", "")
	begin := regexp.MustCompile(`<<< [^\n]*ClientHello\n`)
	retry := strings.Contains(log, "HelloRetry")
	parts := begin.Split(log, -1)[1:]
	var whole []string
	for i := range parts {
		// A hello after a HelloRetryRequest does not begin a new connection, nor does the hello of a renegotiation.
		if i > 0 && (!strings.Contains(parts[i-1], "CONNECTION") && !strings.Contains(parts[i-1], "ACCEPT") && !strings.Contains(parts[i-1], "closed") && !strings.Contains(parts[i-1], "rror") || retry && i%2 == 1) {
			whole[len(whole)-1] += parts[i]
			continue
		}
		whole = append(whole, parts[i])
	}
	for _, p := range whole {
		s := seen{
			resumed: !regexp.MustCompile(`>>> [^\n]*, Certificate\b`).MatchString(p) && strings.Contains(p, ">>> ") && strings.Contains(p, ", Finished"),
			early:   strings.Contains(p, "Early data received") && !strings.Contains(p, "Early data was rejected"),
		}
		got := first(`<<< [^\n]*\[length ([0-9a-f]+)\], Certificate\n`, p)
		size, _ := strconv.ParseInt(got, 16, 32)
		if size > 16 {
			s.certs, s.size = 1, int(size)
		}
		if alert := first(`(Alert \[length 0002\], fatal [a-z_]+)`, p); alert != "" && !strings.Contains(p, "CONNECTION ESTABLISHED") && !strings.Contains(p, "CIPHER is") {
			s.err = alert + " " + first(`error:[^\n]*:([^:\n]+):[^:\n]*:[^:\n]*:?\n`, p)
			if size <= 16 {
				s.certs = -1
			}
		}
		all = append(all, s)
	}
	return all
}

func gnutls() *stack {
	priority := func(e endpoint) string { return "NORMAL:-VERS-ALL:+VERS-TLS" + e.version() }
	return &stack{
		name: "GnuTLS", needs: []string{"gnutls-serv", "gnutls-cli"}, release: output(`\d\.\d+\.\d+`, "gnutls-cli", "--version"),
		server: func(l *lab, e endpoint) []string {
			a := []string{"gnutls-serv", "--port", port, "--echo", "--x509cafile", l.certs.ca()}
			a = append(a, "--x509certfile", l.certs.pem(e.serverCert()), "--x509keyfile", l.certs.key(e.serverCert()))
			switch e.auth {
			case "":
				a = append(a, "--disable-client-cert")
			case "optional":
				a = append(a, "--verify-client-cert")
			case "required":
				a = append(a, "--require-client-cert", "--verify-client-cert")
			}
			a = append(a, e.options...)
			if !strings.Contains(strings.Join(e.options, " "), "--priority") {
				a = append(a, "--priority", priority(e))
			}
			return a
		},
		said: func(log string) []seen {
			var all []seen
			log = strings.ReplaceAll(strings.ReplaceAll(log, "tls-server-end-point': error", ""), "Error in handshake", "* Accepted connection from nobody: error in handshake")
			for _, p := range split(log, "* Accepted connection from") {
				n, _ := strconv.Atoi(first(`Got a certificate list of (\d+)`, p))
				s := seen{certs: n, counted: true, resumed: strings.Contains(p, "This is a resumed session"), early: strings.Contains(p, "early data") && strings.Contains(p, "accepted")}
				if s.err = first(`(?i)(error[^\n]*)`, p); s.err != "" && n == 0 {
					s.certs = -1
				}
				if strings.Contains(p, "received cmd") {
					s.err = ""
				}
				all = append(all, s)
			}
			return all
		},
		client: func(l *lab, e endpoint) [][]string {
			a := []string{"gnutls-cli", "--port", port, "--sni-hostname", serverName, "--verify-hostname", serverName, "--x509cafile", l.certs.ca()}
			if e.cert != "" {
				a = append(a, "--x509certfile", l.certs.pem(e.cert), "--x509keyfile", l.certs.key(e.cert))
			}
			if e.n > 1 {
				a = append(a, "--resume", "--waitresumption")
				if e.old {
					a = a[:len(a)-1]
				}
			}
			a = append(a, e.options...)
			if !strings.Contains(strings.Join(e.options, " "), "--priority") {
				a = append(a, "--priority", priority(e))
			}
			return [][]string{append(a, serverAddr)}
		},
	}
}

func nss() *stack {
	version := func(e endpoint) string { return "tls" + e.version() + ":tls" + e.version() }
	return &stack{
		name: "NSS", needs: []string{"selfserv", "tstclnt", "strsclnt", "certutil"}, release: output(`\d+\.\d+(\.\d+)?`, "dpkg-query", "-W", "-f", "${Version}", "libnss3-tools"),
		server: func(l *lab, e endpoint) []string {
			name := e.serverCert()
			kind := "-e"
			if strings.Contains(name, "rsa") {
				kind = "-n"
			}
			a := []string{"selfserv", "-d", l.certs.nss(name), kind, name, "-p", port, "-v", "-V", version(e), "-u"}
			switch e.auth {
			case "optional":
				a = append(a, "-r")
			case "required":
				a = append(a, "-r", "-r")
			}
			return append(a, e.options...)
		},
		said: func(log string) []seen {
			var all []seen
			before := 0
			for _, p := range split(log, "About to call accept.") {
				if p = strings.TrimSuffix(strings.TrimSpace(p), "selfserv:"); strings.TrimSpace(p) == "" {
					continue // the server waits for the next connection
				}
				hits, _ := strconv.Atoi(first(`(\d+) cache hits`, p))
				stateless, _ := strconv.Atoi(first(`(\d+) stateless resumes`, p))
				s := seen{resumed: hits+stateless > before}
				before = max(before, hits+stateless)
				if regexp.MustCompile(`selfserv: Subject:`).MatchString(p) {
					s.certs = 1
				}
				if !strings.Contains(p, "SSL version 3.") {
					s.err = strings.Join(strings.Fields(p), " ")
					if s.certs == 0 {
						s.certs = -1
					}
				}
				all = append(all, s)
			}
			return all
		},
		client: func(l *lab, e endpoint) [][]string {
			cert, db := e.cert, l.certs.nss(e.cert) // if the name is empty, the database has only the root certificate
			if e.n > 1 {
				a := []string{"strsclnt", "-d", db, "-p", port, "-V", version(e), "-c", strconv.Itoa(e.n), "-t", "1", "-u", "-o", "-a", serverName}
				if cert != "" {
					a = append(a, "-n", cert)
				}
				return [][]string{append(append(a, e.options...), serverAddr)}
			}
			a := []string{"tstclnt", "-h", serverAddr, "-a", serverName, "-p", port, "-d", db, "-V", version(e), "-o"}
			if cert != "" {
				a = append(a, "-n", cert)
			}
			return [][]string{append(a, e.options...)}
		},
	}
}

// curl returns curl with OpenSSL. Like every curl, it offers post-handshake authentication.
func curl() *stack {
	return &stack{
		name: "curl", needs: []string{"curl"}, release: output(`\d+\.\d+\.\d+`, "curl", "--version"),
		client: func(l *lab, e endpoint) [][]string {
			a := []string{"curl", "-s", "-S", "-i", "-m", "5", "--http1.1", "--cacert", l.certs.ca(), "--tlsv" + e.version(), "--tls-max", e.version(), "--resolve", serverName + ":" + port + ":" + serverAddr}
			if e.cert != "" {
				a = append(a, "--cert", l.certs.pem(e.cert), "--key", l.certs.key(e.cert))
			}
			a = append(a, e.options...)
			for range e.count() {
				a = append(a, "https://"+serverName+":"+port+"/ping")
			}
			return [][]string{a}
		},
	}
}

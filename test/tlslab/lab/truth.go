package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// seen is a server's report of one connection.
type seen struct {
	certs   int    // number of certificates that the client presented, -1 if unknown
	counted bool   // certs is the exact number; if false, certs is 1 for any number of certificates
	size    int    // bytes of the client's Certificate message, 0 if unknown
	err     string // why the handshake failed, empty if it did not
	resumed bool
	early   bool // early data was accepted
}

// row is the truth about one connection. An empty field is unknown.
type row struct {
	file           string
	conn           int
	server, client string // stack and version
	what           string // description of the case
	version        string
	requested      string // "yes", "no"
	auth           string // "presented", "declined", "not_requested" in the full handshake; for a resumption, in the first handshake of the same file
	outcome        string // "established", "failed"
	resumed        string // "yes", "no"
	early          string // "accepted"
	chain          int    // DER bytes of the chain presented, 0 if unknown
	key            string // kind of the client's key
	note           string // "may abstain: ...", or "unverified": presented, but not issued by a trusted authority
}

var columns = []string{"file", "conn", "server", "client", "case", "version", "requested", "client_auth", "outcome", "resumed", "early", "chain_bytes", "key", "note"}

func (r row) fields() []string {
	chain := ""
	if r.chain > 0 {
		chain = strconv.Itoa(r.chain)
	}
	return []string{r.file, strconv.Itoa(r.conn), r.server, r.client, r.what, r.version, r.requested, r.auth, r.outcome, r.resumed, r.early, chain, r.key, r.note}
}

// String returns the row as the lab prints it.
func (r row) String() string { return strings.Join(r.fields(), " | ") }

// badCertificate and noCertificate match errors that servers report. badCertificate is for a client certificate that
// was not accepted, noCertificate for a missing one.
var (
	badCertificate = regexp.MustCompile(`(?i)verif\w* (failed|error)|unknown.?(authority|ca|issuer)|expired|untrusted|not trusted|unable to (get|find) (local )?issuer|self.?signed|path (building|validation)|certificate validation failure|bad.?certificate|error in the certificate|ASN (date|no signer)|invalid (peer )?certificate|certificate (is|was) (not|invalid)|signer`)
	noCertificate  = regexp.MustCompile(`(?i)(did(n't| not)|does not) (provide|return|present|send)|send a certificate, but it did not|no (peer |client )?certificate|certificate.?required|NoCertificatesPresented|empty (client )?certificate|no cert|sent no cert`)
)

// truth returns one row for each connection that a server reported.
func (l *lab) truth(c testCase, server, client *stack, all []seen) ([]row, error) {
	if len(all) != c.connections() {
		return nil, fmt.Errorf("%d connections in the server's log, want %d", len(all), c.connections())
	}

	var rows []row
	var first row
	for i, s := range all {
		r := row{
			file: c.file() + ending, conn: i, server: server.label(l), client: client.label(l), what: c.what, version: c.srv.version(),
			requested: "no", outcome: "established", resumed: yes(s.resumed), note: c.note,
		}
		if c.srv.auth != "" {
			r.requested = "yes"
		}
		if s.early {
			r.early = "accepted"
		}
		if s.err != "" {
			r.outcome = "failed"
			if r.note == "" && r.requested == "yes" && r.version == "1.3" {
				r.note = mayAbstain + "an alert is as large as a close_notify"
			}
		}

		r.auth = c.presented(s)
		if r.auth == "presented" {
			r.chain, r.key = l.certs.chain(c.cli.cert, s, c.srv.old), keyKind(c.cli.cert)
		}
		if s.resumed {
			r.auth, r.requested = first.auth, ""
		} else if i == 0 {
			first = r
		}
		if c.auth != nil { // there are several clients, or a certificate comes later
			r.auth = c.auth[i]
		}
		rows = append(rows, r)
	}

	rows = rows[c.older:]
	for i := range rows {
		rows[i].conn = i
	}
	return rows, c.check(rows)
}

// presented returns the value of row.auth: what the client did when the server requested a certificate.
func (c testCase) presented(s seen) string {
	switch {
	case s.certs > 0:
		return "presented"
	case c.srv.auth == "" && (s.err == "" || c.cli.refuses == ""):
		return "not_requested"
	case s.certs == 0 && s.err == "":
		return "declined"
	case noCertificate.MatchString(s.err):
		return "declined"
	case badCertificate.MatchString(s.err) && c.cli.refuses == "":
		return "presented"
	}
	return ""
}

// check compares the result with the one that the case is meant to have. A case with another result proves nothing.
func (c testCase) check(rows []row) error {
	last := rows[len(rows)-1]
	switch {
	case c.want.auth != "" && rows[0].auth != c.want.auth:
		return fmt.Errorf("client_auth %q, the case needs %q", rows[0].auth, c.want.auth)
	case c.want.outcome != last.outcome:
		return fmt.Errorf("outcome %q, the case needs %q", last.outcome, c.want.outcome)
	case c.want.resumed != (last.resumed == "yes"):
		return fmt.Errorf("resumed %q", last.resumed)
	case c.want.early != (last.early == "accepted"):
		return fmt.Errorf("early data %q", last.early)
	}
	return nil
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// chain returns the size in bytes of the certificates that the client presented, or 0 if it is unknown. If the server
// counts the certificates, the size follows from their number, otherwise from the size of the Certificate message.
func (c *certificates) chain(name string, s seen, old bool) int {
	sum, over, entry := 0, 8, 5
	if old {
		over, entry = 7, 3
	}
	for i, size := range c.sizes[name] {
		sum += size
		if n := i + 1; s.counted && n == s.certs || s.size == over+sum+n*entry {
			return sum
		}
	}
	return 0
}

func keyKind(cert string) string {
	for _, id := range identities {
		if id.name == cert {
			return map[string]string{"p256": "ecdsa-p256", "p384": "ecdsa-p384", "p521": "ecdsa-p521", "rsa2048": "rsa-2048", "rsa4096": "rsa-4096", "ed25519": "ed25519"}[id.key]
		}
	}
	return ""
}

// manifest is the content of manifest.tsv.
type manifest struct {
	path  string
	lines map[string][]string // the lines of each file
}

func readManifest(path string) (*manifest, error) {
	m := &manifest{path, map[string][]string{}}
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return m, nil
	} else if err != nil {
		return nil, err
	}

	in := bufio.NewScanner(bytes.NewReader(b))
	in.Scan() // skips the column names
	for in.Scan() {
		file, _, _ := strings.Cut(in.Text(), "\t")
		m.lines[file] = append(m.lines[file], in.Text())
	}
	return m, in.Err()
}

// keep removes the lines and captures of cases that no longer exist.
func (m *manifest) keep(all []testCase) error {
	known := map[string]bool{}
	for _, c := range all {
		known[c.file()+ending] = true
	}
	for file := range m.lines {
		if known[file] {
			continue
		}
		delete(m.lines, file)
		if err := ignoreMissing(os.Remove(filepath.Join(filepath.Dir(m.path), file))); err != nil {
			return err
		}
	}
	return nil
}

func (m *manifest) replace(file string, rows []row) {
	var lines []string
	for _, r := range rows {
		lines = append(lines, strings.Join(r.fields(), "\t"))
	}
	m.lines[file+ending] = lines
}

func (m *manifest) write() error {
	var out strings.Builder
	out.WriteString(strings.Join(columns, "\t") + "\n")
	var files []string
	for f := range m.lines {
		files = append(files, f)
	}
	slices.Sort(files)
	for _, f := range files {
		out.WriteString(strings.Join(m.lines[f], "\n") + "\n")
	}
	return os.WriteFile(m.path, []byte(out.String()), 0o644)
}

package cbom

import (
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/record"
)

// maxEntries bounds the protocol configurations and the certificates of an inventory, each counted once for each edge. A capture
// whose peers choose ever new values exceeds it.
const maxEntries = 1 << 16

// An Inventory collects the cryptography of connections. It is not safe for concurrent use.
type Inventory struct {
	noted        facts // of the record that was passed to Note last
	configs      map[config]occurrences
	certificates map[certificate]occurrences
	entries      int
	unread       uint64 // connections of TLS whose ServerHello was not seen
	failed       uint64 // connections whose handshake failed
	omitted      uint64 // occurrences beyond maxEntries
}

// occurrences counts connections by edge.
type occurrences map[string]uint64

// config holds the parameters that a connection negotiated. An empty one was not seen, or not used.
type config struct {
	protocol string // "TLS", "DTLS", "SSL" or "QUIC"
	version  string // "1.3"
	suite    string // IANA's name
	group    string // IANA's name
}

// certificate is a leaf certificate that was readable.
type certificate struct {
	sha256          string // upper-case hexadecimal
	subject, issuer string // RFC 4514; empty: redacted
	from, until     string // RFC 3339; empty: unknown
	key             string // algorithm of its key, such as "ECDSA"; empty: unknown
	bits            uint64 // size of its key; 0: unknown
	signature       string // algorithm of the issuer's signature, such as "SHA256-RSA"; empty: unknown
}

// facts are the parts of a record that enter the inventory.
type facts struct {
	isTLS, isFailed bool
	config          config
	certificates    [2]certificate // of the client and the server; an empty sha256: none was readable
}

// New returns an empty Inventory.
func New() *Inventory {
	return &Inventory{configs: map[config]occurrences{}, certificates: map[certificate]occurrences{}}
}

// Note stores the facts of a record for Add. It is a finding.Encoder whose records are empty: it returns b.
func (i *Inventory) Note(b []byte, r *record.Record) []byte {
	i.noted = facts{}
	t := r.TLS
	if t == nil {
		return b
	}
	i.noted.isTLS, i.noted.isFailed = true, r.Meshtls.Verdict == "failed"
	i.noted.config = config{protocolName(r), t.Version, t.Cipher, t.Curve}
	i.noted.certificates = [2]certificate{certificateOf(&t.Client.Certificate), certificateOf(&t.Server.Certificate)}
	return b
}

// protocolName returns the name of a connection's protocol.
func protocolName(r *record.Record) string {
	switch {
	case r.Network.Protocol == "quic":
		return "QUIC"
	case r.TLS.VersionProtocol == "dtls":
		return "DTLS"
	case r.TLS.VersionProtocol == "ssl":
		return "SSL"
	}
	return "TLS"
}

func certificateOf(c *record.Certificate) certificate {
	return certificate{
		sha256: c.Hash.SHA256, subject: c.Subject, issuer: c.Issuer, from: dateTime(c.NotBefore), until: dateTime(c.NotAfter),
		key: c.X509.PublicKeyAlgorithm, bits: c.X509.PublicKeySize, signature: c.X509.SignatureAlgorithm,
	}
}

func dateTime(t *time.Time) string {
	if t == nil {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// Add adds a connection of an edge, whose record was passed to Note. If the handshake failed, or its ServerHello was not seen, nothing
// was negotiated as far as is known: the connection is only counted.
func (i *Inventory) Add(edge string) {
	f := &i.noted
	switch {
	case !f.isTLS:
		return
	case f.isFailed:
		i.failed++
		return
	case f.config.version == "" || f.config.suite == "" && f.config.group == "":
		i.unread++
	default:
		add(i, i.configs, f.config, edge)
	}
	for n, c := range f.certificates {
		if c.sha256 != "" && (n == 0 || c != f.certificates[0]) {
			add(i, i.certificates, c, edge)
		}
	}
}

// add counts an occurrence of key.
func add[K comparable](i *Inventory, all map[K]occurrences, key K, edge string) {
	of := all[key]
	if of[edge] == 0 {
		if i.entries >= maxEntries {
			i.omitted++
			return
		}
		i.entries++
	}
	if of == nil {
		of = occurrences{}
		all[key] = of
	}
	of[edge]++
}

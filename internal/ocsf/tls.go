package ocsf

import (
	"cmp"
	"net/netip"
	"strings"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/iana"
	"github.com/meshtls-tap/meshtls-tap/internal/record"
)

// Values of algorithm_id in Fingerprint, and of type_id in JA4+ Fingerprint.
const (
	algorithmMD5    = 1
	algorithmSHA256 = 3
	fingerprintJA4  = 1
)

// unknownVersion is tls.version, which OCSF requires, if no ServerHello was seen.
const unknownVersion = "unknown"

// tls writes the TLS session of a connection.
func (e *event) tls() {
	t := e.TLS
	if t == nil {
		return
	}
	e.object("tls", func() {
		e.text("version", cmp.Or(t.Version, unknownVersion))
		e.text("cipher", t.Cipher)
		e.text("sni", t.Client.ServerName)
		e.texts("client_ciphers", t.Client.SupportedCiphers)
		e.fingerprint("ja3_hash", algorithmMD5, t.Client.JA3)
		e.fingerprint("ja3s_hash", algorithmMD5, t.Server.JA3S)
		if number, ok := iana.AlertNumber(e.Meshtls.TLS.Alert); ok {
			e.number("alert", int64(number))
		}
		e.certificate(&t.Server.Certificate)
	})
	e.list("ja4_fingerprint_list", func() {
		if ja4 := e.Meshtls.TLS.JA4; ja4 != "" {
			e.object("", func() {
				e.number("type_id", fingerprintJA4)
				e.text("value", ja4)
			})
		}
	})
}

func (e *event) fingerprint(name string, algorithm int64, value string) {
	if value == "" {
		return
	}
	e.object(name, func() {
		e.number("algorithm_id", algorithm)
		e.text("value", value)
	})
}

// isComplete reports whether a certificate has the members that OCSF requires.
func isComplete(c *record.Certificate) bool { return c.Issuer != "" && c.X509.SerialNumber != "" }

// certificate writes the server's certificate.
func (e *event) certificate(c *record.Certificate) {
	if !isComplete(c) {
		return
	}
	e.object("certificate", func() {
		e.text("subject", c.Subject)
		e.text("issuer", c.Issuer)
		e.text("serial_number", c.X509.SerialNumber)
		e.second("created_time", c.NotBefore)
		e.second("expiration_time", c.NotAfter)
		e.list("fingerprints", func() { e.fingerprint("", algorithmSHA256, c.Hash.SHA256) })
		e.list("sans", func() {
			for _, name := range c.X509.AlternativeNames {
				e.object("", func() {
					e.text("type", kindOfName(name))
					e.text("name", name)
				})
			}
		})
	})
}

// second writes a time of a certificate.
func (e *event) second(name string, t *time.Time) {
	if t != nil {
		e.number(name, t.UnixMilli())
	}
}

// kindOfName returns the kind of an alternative name.
func kindOfName(name string) string {
	if strings.Contains(name, "://") {
		return "URI"
	}
	if _, err := netip.ParseAddr(name); err == nil {
		return "IP Address"
	}
	return "DNS Name"
}

// unmappedTLS writes the members of the TLS session without an attribute, such as the client's certificate.
func (e *event) unmappedTLS() {
	if e.TLS == nil {
		return
	}
	rest := *e.TLS
	rest.Version, rest.Cipher = "", ""
	rest.Client.ServerName, rest.Client.JA3, rest.Client.SupportedCiphers, rest.Server.JA3S = "", "", nil, ""
	if c := &rest.Server.Certificate; isComplete(c) {
		x := c.X509
		x.AlternativeNames, x.SerialNumber = nil, ""
		*c = record.Certificate{X509: x}
	}
	e.part("tls", &rest)
}

package webhook

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"time"
)

// Lifetimes of the webhook's own certificates. Each is renewed when a third of its lifetime is left.
const (
	authorityLife = 90 * 24 * time.Hour
	leafLife      = 7 * 24 * time.Hour
	backdate      = 5 * time.Minute // certificates become valid this long before their creation, for clients whose clocks are slow
)

// authorityName is the common name of the authorities that the webhook creates.
const authorityName = "meshtls-tap-webhook"

// authority is a CA certificate with its key.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte // cert in PEM
}

// newAuthority creates an authority that is valid from now on, for authorityLife.
func newAuthority(now time.Time) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: authorityName},
		NotBefore: now.Add(-backdate), NotAfter: now.Add(authorityLife),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return &authority{cert, key, encode("CERTIFICATE", der)}, err
}

// serial returns a random serial number of 128 bits.
func serial() *big.Int {
	var b [16]byte
	rand.Read(b[:]) // never fails
	return new(big.Int).SetBytes(b[:])
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// readAuthority parses an authority in PEM, as a Secret stores it. It returns an error if the certificate is not a CA
// certificate or does not belong to the key.
func readAuthority(cert, key []byte) (*authority, error) {
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, err
	}
	private, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok || !pair.Leaf.IsCA {
		return nil, errors.New("expected a CA certificate with an ECDSA key")
	}
	return &authority{pair.Leaf, private, encode("CERTIFICATE", pair.Leaf.Raw)}, nil
}

// keyPEM returns the private key in PEM (PKCS #8), as a Secret stores it.
func (a *authority) keyPEM() ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(a.key)
	return encode("PRIVATE KEY", der), err
}

// leaf creates a server certificate for host names and IP addresses. It is valid for leafLife, but not longer than
// the authority.
func (a *authority) leaf(hosts []string, now time.Time) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}

	end := now.Add(leafLife)
	if a.cert.NotAfter.Before(end) {
		end = a.cert.NotAfter
	}
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: hosts[0]},
		NotBefore: now.Add(-backdate), NotAfter: end,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}

	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}

	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: cert}, err
}

// aged reports whether a certificate should be replaced: less than a third of its lifetime is left, or it is not valid yet.
func aged(c *x509.Certificate, now time.Time) bool {
	life := c.NotAfter.Sub(c.NotBefore)
	return now.Before(c.NotBefore) || c.NotAfter.Sub(now) < life/3
}

// bundle joins certificates in PEM, in the given order. It leaves out duplicates and certificates that have expired.
func bundle(now time.Time, certs ...[]byte) []byte {
	var out []byte
	for _, text := range certs {
		for {
			var block *pem.Block
			if block, text = pem.Decode(text); block == nil {
				break
			}
			c, err := x509.ParseCertificate(block.Bytes)
			if err != nil || now.After(c.NotAfter) {
				continue
			}
			if one := encode("CERTIFICATE", c.Raw); !bytes.Contains(out, one) {
				out = append(out, one...)
			}
		}
	}
	return out
}

// serviceHosts returns the names under which API servers call a Service, followed by more.
func serviceHosts(service, namespace string, more []string) []string {
	host := fmt.Sprintf("%s.%s.svc", service, namespace)
	return append([]string{host, host + ".cluster.local"}, more...)
}

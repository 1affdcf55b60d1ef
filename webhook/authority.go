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

// Lifetimes of the own authority. A third of one is always left: it is renewed before.
const (
	authorityLife = 90 * 24 * time.Hour
	leafLife      = 7 * 24 * time.Hour
	backdate      = 5 * time.Minute // for clocks that are behind
)

// authorityName is the subject of every authority that the webhook made.
const authorityName = "meshtls-tap-webhook"

// authority is a certificate that signs others, and its key.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte // of cert
}

// newAuthority makes an authority that is valid from now on.
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

func serial() *big.Int {
	var b [16]byte
	rand.Read(b[:]) // never fails
	return new(big.Int).SetBytes(b[:])
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// readAuthority reads what a Secret holds, and checks that it is one.
func readAuthority(cert, key []byte) (*authority, error) {
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, err
	}
	private, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok || !pair.Leaf.IsCA {
		return nil, errors.New("it is no authority with an ECDSA key")
	}
	return &authority{pair.Leaf, private, encode("CERTIFICATE", pair.Leaf.Raw)}, nil
}

// keyPEM returns the private key as a Secret holds it.
func (a *authority) keyPEM() ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(a.key)
	return encode("PRIVATE KEY", der), err
}

// leaf makes a server certificate for names and addresses.
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

// aged reports whether less than a third of a certificate's life is left, or it is not valid yet.
func aged(c *x509.Certificate, now time.Time) bool {
	life := c.NotAfter.Sub(c.NotBefore)
	return now.Before(c.NotBefore) || c.NotAfter.Sub(now) < life/3
}

// bundle joins certificates that are still valid, each once, in their order.
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

// serviceHosts are the names by which an API server calls a Service.
func serviceHosts(service, namespace string, more []string) []string {
	host := fmt.Sprintf("%s.%s.svc", service, namespace)
	return append([]string{host, host + ".cluster.local"}, more...)
}

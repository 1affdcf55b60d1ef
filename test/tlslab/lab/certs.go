package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

const serverName = "httpbin.lab.test"

// certificates are the identities of the lab. Each NAME has the files NAME.pem (leaf and intermediates), NAME.key,
// NAME.above (the intermediates), NAME.both (key and chain), NAME.p12, and the database NAME.nss. The password of all
// is "changeit".
type certificates struct {
	dir   string
	sizes map[string][]int // DER bytes of each certificate of the path, leaf first, root last
}

type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
	up   *authority
}

// identities lists the certificates. The columns are the name, the kind of key, the authority, and whether the
// certificate has expired.
var identities = []struct {
	name, key, issuer string
	expired           bool
}{
	{"srv", "p256", "root", false},
	{"srv-rsa", "rsa2048", "root", false},
	{"srv-ed25519", "ed25519", "root", false},
	{"srv-chain2", "p256", "issuing", false},
	{"srv-other", "p256", "other", false},
	{"cli", "p256", "root", false},
	{"cli-p384", "p384", "root", false},
	{"cli-p521", "p521", "root", false},
	{"cli-rsa", "rsa2048", "root", false},
	{"cli-rsa4096", "rsa4096", "root", false},
	{"cli-ed25519", "ed25519", "root", false},
	{"cli-chain2", "p256", "issuing", false},
	{"cli-chain3", "p256", "regional", false},
	{"cli-expired", "p256", "root", true},
	{"cli-other", "p256", "other", false},
}

func newCertificates(dir string) (*certificates, error) {
	c := &certificates{dir: dir, sizes: map[string][]int{}}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}

	root, err := newAuthority("lab root", nil)
	if err != nil {
		return nil, err
	}
	issuing, err := newAuthority("lab issuing", root)
	if err != nil {
		return nil, err
	}
	regional, err := newAuthority("lab regional", issuing)
	if err != nil {
		return nil, err
	}
	other, err := newAuthority("other root", nil)
	if err != nil {
		return nil, err
	}

	byName := map[string]*authority{"root": root, "issuing": issuing, "regional": regional, "other": other}
	if err := c.write("ca.pem", block("CERTIFICATE", root.cert.Raw)); err != nil {
		return nil, err
	}
	if err := c.database(""); err != nil {
		return nil, err
	}

	for _, id := range identities {
		if err := c.issue(id.name, id.key, byName[id.issuer], id.expired); err != nil {
			return nil, fmt.Errorf("%s: %w", id.name, err)
		}
	}
	return c, nil
}

func (c *certificates) write(name string, blocks ...[]byte) error {
	var all []byte
	for _, b := range blocks {
		all = append(all, b...)
	}
	return os.WriteFile(c.path(name), all, 0o644)
}

func (c *certificates) path(name string) string { return filepath.Join(c.dir, name) }

// ca returns the root's file, and the files of a certificate and its key.
func (c *certificates) ca() string               { return c.path("ca.pem") }
func (c *certificates) pem(name string) string   { return orDash(name, c.path(name+".pem")) }
func (c *certificates) key(name string) string   { return orDash(name, c.path(name+".key")) }
func (c *certificates) above(name string) string { return c.path(name + ".above") }
func (c *certificates) both(name string) string  { return c.path(name + ".both") }
func (c *certificates) p12(name string) string   { return orDash(name, c.path(name+".p12")) }
func (c *certificates) nss(name string) string   { return "sql:" + c.path(name+".nss") }

func orDash(name, path string) string {
	if name == "" {
		return "-"
	}
	return path
}

func block(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func newKey(kind string) (crypto.Signer, error) {
	switch kind {
	case "p256":
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "p384":
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "p521":
		return ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case "rsa2048":
		return rsa.GenerateKey(rand.Reader, 2048)
	case "rsa4096":
		return rsa.GenerateKey(rand.Reader, 4096)
	case "ed25519":
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	}
	return nil, fmt.Errorf("unknown kind of key %q", kind)
}

func serial() *big.Int {
	n, _ := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 64))
	return n
}

func newAuthority(name string, up *authority) (*authority, error) {
	key, err := newKey("p256")
	if err != nil {
		return nil, err
	}
	a := &authority{key: key, up: up}
	tmpl := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{Organization: []string{"lab.test"}, CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(10, 0, 0), KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}

	parent, signer := tmpl, key
	if up != nil {
		parent, signer = up.cert, up.key
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, key.Public(), signer)
	if err != nil {
		return nil, err
	}
	a.cert, err = x509.ParseCertificate(der)
	return a, err
}

func (c *certificates) issue(name, kind string, by *authority, expired bool) error {
	key, err := newKey(kind)
	if err != nil {
		return err
	}

	spiffe, err := url.Parse("spiffe://lab.test/ns/lab/sa/" + name)
	if err != nil {
		return err
	}
	tmpl := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{Organization: []string{"lab.test"}, CommonName: name}, DNSNames: []string{serverName},
		IPAddresses: []net.IP{net.ParseIP(serverAddr)}, URIs: []*url.URL{spiffe}, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(10, 0, 0), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}

	if expired {
		tmpl.NotBefore, tmpl.NotAfter = time.Now().AddDate(-2, 0, 0), time.Now().AddDate(-1, 0, 0)
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, by.cert, key.Public(), by.key)
	if err != nil {
		return err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}

	chain, sizes := block("CERTIFICATE", der), []int{len(der)}
	for a := by; a != nil; a = a.up {
		if a.up != nil {
			chain = append(chain, block("CERTIFICATE", a.cert.Raw)...)
		}
		sizes = append(sizes, len(a.cert.Raw))
	}
	c.sizes[name] = sizes
	keyBlock := block("PRIVATE KEY", pkcs8)
	leaf := len(block("CERTIFICATE", der))
	if err := errors.Join(c.write(name+".above", chain[leaf:]), c.write(name+".pem", chain), c.write(name+".key", keyBlock), c.write(name+".both", keyBlock, chain)); err != nil {
		return err
	}
	return c.convert(name)
}

// convert creates the PKCS #12 file, and the NSS database if the tools for it are installed.
func (c *certificates) convert(name string) error {
	if err := command("openssl", "pkcs12", "-export", "-in", c.path(name+".pem"), "-inkey", c.path(name+".key"), "-out", c.path(name+".p12"), "-name", name, "-passout", "pass:changeit"); err != nil {
		return err
	}
	return c.database(name)
}

// database creates an NSS database with the root certificate. If a name is given, the database also has the
// certificate of that name.
func (c *certificates) database(name string) error {
	if _, err := exec.LookPath("certutil"); err != nil {
		return nil
	}
	db := c.path(name + ".nss")
	if err := errors.Join(os.RemoveAll(db), os.MkdirAll(db, 0o755)); err != nil {
		return err
	}
	if err := command("certutil", "-N", "-d", "sql:"+db, "--empty-password"); err != nil {
		return err
	}
	if err := command("certutil", "-A", "-d", "sql:"+db, "-n", "root", "-t", "CT,CT,CT", "-i", c.ca()); err != nil {
		return err
	}
	if name == "" {
		return nil
	}
	// This fails for Ed25519 keys, which NSS does not support. No case needs them from NSS.
	_ = command("pk12util", "-i", c.path(name+".p12"), "-d", "sql:"+db, "-W", "changeit")
	return nil
}

func command(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %.300s", name, err, out)
	}
	return nil
}

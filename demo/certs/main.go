// Command certs writes the files that two workloads of a mesh need for mutual TLS: ca.pem, and for each
// SPIFFE ID a certificate and its key, named after the last part of the ID.
//
//	certs FOLDER spiffe://TRUST_DOMAIN/ns/NAMESPACE/sa/NAME...
//
// The certificates follow the SPIFFE X.509-SVID specification and are valid for one day.
package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"time"
)

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: certs FOLDER SPIFFE_ID...")
		os.Exit(2)
	}
	if err := write(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "certs:", err)
		os.Exit(1)
	}
}

// write creates the folder, the authority and a certificate for each ID. The authority's key is not
// stored.
func write(folder string, ids []string) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}

	ca := template(1)
	ca.Subject = pkix.Name{Organization: []string{"cluster.local"}, CommonName: "demo mesh"}
	ca.IsCA, ca.KeyUsage = true, x509.KeyUsageCertSign
	caKey, err := issue(filepath.Join(folder, "ca.pem"), ca, ca, nil)
	if err != nil {
		return err
	}

	for i, id := range ids {
		uri, err := url.Parse(id)
		if err != nil {
			return err
		}
		leaf := template(int64(i) + 2)
		leaf.URIs = []*url.URL{uri}
		leaf.KeyUsage = x509.KeyUsageDigitalSignature
		leaf.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
		name := filepath.Join(folder, path.Base(uri.Path))
		key, err := issue(name+".pem", leaf, ca, caKey)
		if err != nil {
			return err
		}
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			return err
		}
		if err := save(name+".key", "PRIVATE KEY", der); err != nil {
			return err
		}
	}
	return nil
}

func template(serial int64) *x509.Certificate {
	now := time.Now()
	return &x509.Certificate{
		SerialNumber:          big.NewInt(serial),
		NotBefore:             now.Add(-time.Minute),
		NotAfter:              now.Add(24 * time.Hour),
		BasicConstraintsValid: true,
	}
}

// issue creates a key, writes a certificate for it, and returns the key. Without a signer the certificate
// is self-signed.
func issue(file string, cert, parent *x509.Certificate, signer *ecdsa.PrivateKey) (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	if signer == nil {
		signer = key
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, parent, key.Public(), signer)
	if err != nil {
		return nil, err
	}
	return key, save(file, "CERTIFICATE", der)
}

// save writes a PEM file that all users can read: Envoy runs as another user than the demo. The folder is
// removed with the demo.
func save(file, kind string, der []byte) error {
	return os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o644)
}

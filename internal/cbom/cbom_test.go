package cbom

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/meshtls-tap/meshtls-tap/internal/iana"
	"github.com/meshtls-tap/meshtls-tap/internal/record"
)

var update = flag.Bool("update", false, "write the golden file")

// official returns the compiled schema of CycloneDX 1.6.
var official = sync.OnceValues(func() (*jsonschema.Schema, error) {
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	for _, name := range []string{"bom-1.6.schema.json", "spdx.schema.json", "jsf-0.82.schema.json"} {
		text, err := os.ReadFile(filepath.Join("testdata", "schema", name))
		if err != nil {
			return nil, err
		}
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err == nil {
			err = c.AddResource("http://cyclonedx.org/schema/"+name, doc)
		}
		if err != nil {
			return nil, err
		}
	}
	return c.Compile("http://cyclonedx.org/schema/bom-1.6.schema.json")
})

// written returns the document of an inventory. It checks the document against the official schema, and each reference in it.
func written(t *testing.T, i *Inventory) ([]byte, *bom) {
	t.Helper()
	return writtenOf(t, i, "a.pcap")
}

// writtenOf is like written, for an inventory of files with equal contents.
func writtenOf(t *testing.T, i *Inventory, files ...string) ([]byte, *bom) {
	t.Helper()
	var b bytes.Buffer
	s := Source{Names: files, SHA256: slices.Repeat([]string{strings.Repeat("0f", 32)}, len(files)), Last: 1767268800_000000000, Version: "1.2.3"}
	if err := i.Write(&b, s); err != nil {
		t.Fatal(err)
	}
	schema, err := official()
	if err != nil {
		t.Fatal(err)
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(b.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(value); err != nil {
		t.Fatalf("%v\n%s", err, b.Bytes())
	}
	doc := &bom{}
	if err := json.Unmarshal(b.Bytes(), doc); err != nil {
		t.Fatal(err)
	}
	checkReferences(t, doc)
	return b.Bytes(), doc
}

// checkReferences checks that each reference leads to a component, and that no two components have the same one.
func checkReferences(t *testing.T, doc *bom) {
	t.Helper()
	known := map[string]bool{captureRef: true}
	for _, c := range doc.Components {
		if known[c.Ref] || c.Name == "" {
			t.Errorf("%q: twice, or without a name", c.Ref)
		}
		known[c.Ref] = true
	}
	for _, d := range doc.Dependencies {
		for _, ref := range append(d.DependsOn, d.Ref) {
			if !known[ref] {
				t.Errorf("%q: no component", ref)
			}
		}
	}
	for _, c := range doc.Components {
		p := c.Crypto.Protocol
		if p == nil {
			continue
		}
		for _, ref := range slices.Concat(p.Refs, p.Suites[0].Algorithms) {
			if !known[ref] {
				t.Errorf("%q: no component", ref)
			}
		}
	}
}

// session returns the record of a connection of TLS.
func session(version, suite, group string) *record.Record {
	r := &record.Record{TLS: &record.TLS{Version: version, VersionProtocol: "tls", Cipher: suite, Curve: group}}
	r.Network.Protocol, r.Meshtls.Verdict = "tls", "tls"
	return r
}

func withCertificates(r *record.Record, client, server record.Certificate) *record.Record {
	r.TLS.Client.Certificate, r.TLS.Server.Certificate = client, server
	return r
}

// samples returns connections of several kinds, with their edges.
func samples() (out []func(*Inventory)) {
	add := func(edge string, r *record.Record) {
		out = append(out, func(i *Inventory) {
			i.Note(nil, r)
			i.Add(edge)
		})
	}
	from, until := time.Unix(1767268800, 0).UTC(), time.Unix(1798804800, 0).UTC()
	leaf := func(digit, key string, bits uint64, signature string) record.Certificate {
		return record.Certificate{
			Subject: "CN=" + digit, Issuer: "CN=ca", NotBefore: &from, NotAfter: &until, Hash: record.Hash{SHA256: strings.Repeat(digit, 64)},
			X509: record.X509{PublicKeyAlgorithm: key, PublicKeySize: bits, SignatureAlgorithm: signature},
		}
	}
	redacted := record.Certificate{Hash: record.Hash{SHA256: strings.Repeat("E", 64)}}

	hybrid := session("1.3", "TLS_AES_128_GCM_SHA256", "X25519MLKEM768")
	add("egress shop/web > cart:443", hybrid)
	add("egress shop/web > cart:443", hybrid)
	add("egress shop/web > db:5432", session("1.3", "TLS_CHACHA20_POLY1305_SHA256", "x25519"))
	add("egress shop/web > db:5432", session("1.3", "TLS_AES_256_GCM_SHA384", ""))
	add("egress shop/web > odd:1", session("1.3", "0x1399", "0x2a2a"))
	old := session("1.2", "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA384", "secp256r1")
	add("ingress a > shop/web:8443", withCertificates(old, leaf("A", "ECDSA", 256, "ECDSA-SHA256"), leaf("B", "RSA", 2048, "SHA256-RSA")))
	transport := session("1.0", "TLS_RSA_WITH_3DES_EDE_CBC_SHA", "")
	add("ingress a > shop/web:8443", withCertificates(transport, record.Certificate{}, redacted))
	datagrams := session("1.2", "TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8", "secp256r1")
	datagrams.TLS.VersionProtocol = "dtls"
	add("ingress b > shop/web:5684", withCertificates(datagrams, record.Certificate{}, leaf("C", "Ed25519", 256, "Ed25519")))
	quic := session("1.3", "TLS_AES_128_GCM_SHA256", "secp384r1")
	quic.Network.Protocol = "quic"
	add("ingress b > shop/web:443", quic)
	add("ingress c > shop/web:443", session("", "", ""))
	failed := session("1.2", "TLS_RSA_WITH_RC4_128_SHA", "")
	failed.Meshtls.Verdict = "failed"
	add("ingress c > shop/web:443", failed)
	add("ingress d > shop/web:80", &record.Record{})
	return out
}

// TestGolden: the document of some connections, which does not depend on their order.
func TestGolden(t *testing.T) {
	all := samples()
	var first []byte
	for range 2 {
		i := New()
		for _, add := range all {
			add(i)
		}
		text, _ := written(t, i)
		if first == nil {
			first = text
		}
		if !bytes.Equal(first, text) {
			t.Error("the order of the connections changes the document")
		}
		slices.Reverse(all)
	}
	const path = "testdata/cbom.json"
	if *update {
		if err := os.WriteFile(path, first, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first, want) {
		t.Errorf("got\n%s", first)
	}
}

// TestPostQuantum: a group or version that is not known is neither post-quantum nor the opposite.
func TestPostQuantum(t *testing.T) {
	for c, want := range map[config]string{
		{version: "1.3", group: "X25519MLKEM768"}:                                            "yes",
		{version: "1.3", group: "MLKEM1024"}:                                                 "yes",
		{version: "1.3", group: "X25519Kyber768Draft00"}:                                     "yes",
		{version: "1.3", group: "x25519"}:                                                    "no",
		{version: "1.3", suite: "TLS_AES_128_GCM_SHA256"}:                                    "unknown", // resumed without a key exchange, or not seen
		{version: "1.3", group: "0x2a2a"}:                                                    "unknown",
		{version: "1.2", suite: "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"}:                     "no",
		{version: "1.0", suite: "TLS_RSA_WITH_3DES_EDE_CBC_SHA"}:                             "no",
		{version: "1.2", suite: "TLS_PSK_WITH_AES_128_GCM_SHA256"}:                           "unknown",
		{version: "1.2", suite: "TLS_DHE_PSK_WITH_AES_128_GCM_SHA256"}:                       "no",
		{version: "1.2", suite: "0x1399"}:                                                    "unknown",
		{version: "1.2", suite: "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", group: "secp256r1"}: "no",
	} {
		if got := c.postQuantum(); got != want {
			t.Errorf("%+v: %s, want %s", c, got, want)
		}
	}
}

// TestSuites: the algorithms of some cipher suites.
func TestSuites(t *testing.T) {
	for suite, want := range map[string]string{
		"TLS_AES_128_GCM_SHA256":                  "ae AES-128-GCM 1, hash SHA-256 2",
		"TLS_AES_128_CCM_8_SHA256":                "ae AES-128-CCM-8 1, hash SHA-256 2",
		"TLS_CHACHA20_POLY1305_SHA256":            "ae CHACHA20-POLY1305 -, hash SHA-256 2",
		"TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "key-agree ECDHE 0, signature ECDSA or EdDSA 0, ae AES-256-GCM 5, hash SHA-384 4",
		"TLS_RSA_WITH_AES_128_CBC_SHA":            "pke RSA key transport 0, block-cipher AES-128-CBC 1, hash SHA-1 0",
		"TLS_RSA_WITH_RC4_128_MD5":                "pke RSA key transport 0, stream-cipher RC4-128 0, hash MD5 0",
		"TLS_RSA_WITH_NULL_SHA":                   "pke RSA key transport 0, hash SHA-1 0",
		"TLS_DHE_DSS_WITH_3DES_EDE_CBC_SHA":       "key-agree DHE 0, signature DSA 0, block-cipher 3DES-EDE-CBC 0, hash SHA-1 0",
		"TLS_DH_anon_WITH_AES_128_CBC_SHA256":     "key-agree DH 0, block-cipher AES-128-CBC 1, hash SHA-256 2",
		"TLS_PSK_WITH_CAMELLIA_128_GCM_SHA256":    "ae CAMELLIA-128-GCM -, hash SHA-256 2",
		"TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8":      "key-agree ECDHE 0, signature ECDSA or EdDSA 0, ae AES-128-CCM-8 1",
		"0x1399":                                  "",
	} {
		var got []string
		for _, a := range suiteAlgorithms(suite) {
			quantum := "-"
			if a.quantum != nil {
				quantum = fmt.Sprint(*a.quantum)
			}
			got = append(got, a.primitive+" "+a.name+" "+quantum)
		}
		if text := strings.Join(got, ", "); text != want {
			t.Errorf("%s: %s, want %s", suite, text, want)
		}
	}
}

// TestEveryNumber: any number of a suite or a group results in a valid document.
func TestEveryNumber(t *testing.T) {
	i := New()
	for n := range 1 << 16 {
		suite, group := iana.CipherSuiteName(uint16(n)), iana.GroupName(uint16(n))
		if strings.HasPrefix(suite, "0x") && strings.HasPrefix(group, "0x") && n%4096 != 10 {
			continue
		}
		i.Note(nil, session("1.3", suite, group))
		i.Add("edge")
	}
	_, doc := written(t, i)
	if len(doc.Components) < 400 {
		t.Errorf("%d components", len(doc.Components))
	}
}

// TestNothing: a capture without TLS has a valid document.
func TestNothing(t *testing.T) {
	if _, doc := written(t, New()); len(doc.Components) != 0 {
		t.Errorf("%+v", doc.Components)
	}
}

// TestSameFileTwice: two files with equal names and contents are two components, as the schema requires.
func TestSameFileTwice(t *testing.T) {
	_, doc := writtenOf(t, New(), "a.pcap", "a.pcap")
	if files := doc.Metadata.Component.Components; len(files) != 2 || files[0].Ref == files[1].Ref {
		t.Errorf("files %+v", files)
	}
}

// TestRC4HasNoLevel: a suite with RC4 has no security level, because the size of its key does not stop the known attacks.
func TestRC4HasNoLevel(t *testing.T) {
	i := New()
	i.Note(nil, session("1.2", "TLS_RSA_WITH_RC4_128_SHA", ""))
	i.Add("a")
	_, doc := written(t, i)
	for _, c := range doc.Components {
		if c.Name == "RC4-128" && c.Crypto.Algorithm.Classical == 0 && c.Crypto.Algorithm.Parameter == "128" {
			return
		}
	}
	t.Errorf("components %+v", doc.Components)
}

// TestBound: an inventory stays bounded, whatever peers choose, and counts what it leaves out.
func TestBound(t *testing.T) {
	i := New()
	r := session("1.3", "TLS_AES_128_GCM_SHA256", "")
	const more = 10
	for n := range maxEntries + more {
		r.TLS.Curve = fmt.Sprint("0x", n)
		i.Note(nil, r)
		i.Add("edge")
	}
	if len(i.configs) != maxEntries || i.omitted != more {
		t.Errorf("%d configurations, %d left out", len(i.configs), i.omitted)
	}
	i.Note(nil, r)
	i.Add("another edge")
	if len(i.configs) != maxEntries || i.omitted != more+1 {
		t.Errorf("%d configurations, %d left out", len(i.configs), i.omitted)
	}
}

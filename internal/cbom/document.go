package cbom

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/meshtls-tap/meshtls-tap/internal/record"
)

// Source is the capture of an inventory.
type Source struct {
	Names   []string // of the files
	SHA256  []string // of the files, as lower-case hexadecimal, in the same order; empty: unknown
	Last    int64    // time of the last packet, ns since the epoch; 0: there was none
	Version string   // of the tap
}

// bom is a document. The names of the members are CycloneDX's.
type bom struct {
	Schema       string        `json:"$schema"`
	Format       string        `json:"bomFormat"`
	SpecVersion  string        `json:"specVersion"`
	SerialNumber string        `json:"serialNumber,omitempty"`
	Version      int           `json:"version"`
	Metadata     metadata      `json:"metadata"`
	Components   []component   `json:"components"`
	Dependencies []dependency  `json:"dependencies"`
	Compositions []composition `json:"compositions"`
}

type metadata struct {
	Timestamp  record.Time `json:"timestamp,omitzero"`
	Tools      tools       `json:"tools"`
	Component  component   `json:"component"`
	Properties []property  `json:"properties,omitempty"`
}

type tools struct {
	Components []component `json:"components"`
}

type component struct {
	Type       string            `json:"type"`
	Ref        string            `json:"bom-ref,omitempty"`
	Name       string            `json:"name"`
	Version    string            `json:"version,omitempty"`
	Hashes     []hash            `json:"hashes,omitempty"`
	Crypto     *cryptoProperties `json:"cryptoProperties,omitempty"`
	Evidence   *evidence         `json:"evidence,omitempty"`
	Properties []property        `json:"properties,omitempty"`
	Components []component       `json:"components,omitempty"`
}

type cryptoProperties struct {
	AssetType   string                 `json:"assetType"`
	Algorithm   *algorithmProperties   `json:"algorithmProperties,omitempty"`
	Certificate *certificateProperties `json:"certificateProperties,omitempty"`
	Protocol    *protocolProperties    `json:"protocolProperties,omitempty"`
}

type algorithmProperties struct {
	Primitive string `json:"primitive"`
	Parameter string `json:"parameterSetIdentifier,omitempty"`
	Curve     string `json:"curve,omitempty"`
	Mode      string `json:"mode,omitempty"`
	Classical int    `json:"classicalSecurityLevel,omitempty"`
	Quantum   *int   `json:"nistQuantumSecurityLevel,omitempty"`
}

type certificateProperties struct {
	Subject   string `json:"subjectName,omitempty"`
	Issuer    string `json:"issuerName,omitempty"`
	From      string `json:"notValidBefore,omitempty"`
	Until     string `json:"notValidAfter,omitempty"`
	Signature string `json:"signatureAlgorithmRef,omitempty"`
	Format    string `json:"certificateFormat"`
}

type protocolProperties struct {
	Type    string        `json:"type"`
	Version string        `json:"version"`
	Suites  []cipherSuite `json:"cipherSuites,omitempty"`
	Refs    []string      `json:"cryptoRefArray,omitempty"`
}

type cipherSuite struct {
	Name       string   `json:"name"`
	Algorithms []string `json:"algorithms,omitempty"`
}

type evidence struct {
	Occurrences []occurrence `json:"occurrences"`
}

// occurrence is an edge. Context has the number of its connections.
type occurrence struct {
	Location string `json:"location"`
	Context  string `json:"additionalContext,omitempty"`
}

type hash struct {
	Algorithm string `json:"alg"`
	Content   string `json:"content"`
}

type property struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type dependency struct {
	Ref       string   `json:"ref"`
	DependsOn []string `json:"dependsOn,omitempty"`
}

type composition struct {
	Aggregate  string   `json:"aggregate"`
	Assemblies []string `json:"assemblies"`
}

const (
	captureRef       = "capture"
	assetType        = "cryptographic-asset"
	propertyOfGroups = "meshtls:postQuantumKeyExchange"
)

// Write writes the inventory as one document. The same capture results in the same bytes.
func (i *Inventory) Write(w io.Writer, s Source) error {
	b := builder{components: map[string]component{}, dependencies: map[string][]string{}, occurrences: map[string]occurrences{}}
	b.addAll(i)
	doc := bom{
		Schema: "http://cyclonedx.org/schema/bom-1.6.schema.json", Format: "CycloneDX", SpecVersion: "1.6", Version: 1,
		Metadata:   i.metadata(&s),
		Components: []component{}, Dependencies: []dependency{},
		Compositions: []composition{{"incomplete", []string{captureRef}}},
	}
	b.dependencies[captureRef] = slices.Sorted(maps.Keys(b.components))
	for _, ref := range b.dependencies[captureRef] {
		c := b.components[ref]
		c.Evidence = b.evidence(&c)
		doc.Components = append(doc.Components, c)
	}
	for _, ref := range slices.Sorted(maps.Keys(b.dependencies)) {
		doc.Dependencies = append(doc.Dependencies, dependency{ref, b.dependencies[ref]})
	}

	body, err := encode(&doc)
	if err != nil {
		return err
	}
	doc.SerialNumber = serialNumber(body)
	if body, err = encode(&doc); err != nil {
		return err
	}
	_, err = w.Write(body)
	return err
}

func encode(doc *bom) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err := e.Encode(doc)
	return b.Bytes(), err
}

// serialNumber derives a UUID of version 8 (RFC 9562, section 5.8) from the document, which has the hashes of the captures.
func serialNumber(body []byte) string {
	u := sha256.Sum256(body)
	u[6], u[8] = u[6]&0x0f|0x80, u[8]&0x3f|0x80
	return fmt.Sprintf("urn:uuid:%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:16])
}

// metadata returns the captures, and how much of them is not in the inventory.
func (i *Inventory) metadata(s *Source) metadata {
	m := metadata{
		Timestamp: record.Time(s.Last),
		Tools:     tools{[]component{{Type: "application", Name: "meshtls-tap", Version: s.Version}}},
		Component: component{Type: "file", Ref: captureRef, Name: strings.Join(s.Names, ", ")},
	}
	for n, sum := range s.SHA256 {
		var h []hash
		if sum != "" {
			h = []hash{{"SHA-256", sum}}
		}
		if len(s.SHA256) == 1 {
			m.Component.Hashes = h
			break
		}
		m.Component.Components = append(m.Component.Components, component{Type: "file", Ref: fmt.Sprintf("%s/%d", captureRef, n+1), Name: s.Names[n], Hashes: h})
	}
	for _, p := range []struct {
		name  string
		count uint64
	}{{"meshtls:connectionsWithoutServerHello", i.unread}, {"meshtls:connectionsThatFailed", i.failed}, {"meshtls:occurrencesLeftOut", i.omitted}} {
		m.Properties = append(m.Properties, property{p.name, strconv.FormatUint(p.count, 10)})
	}
	return m
}

// builder collects the parts of a document by their references.
type builder struct {
	components   map[string]component
	dependencies map[string][]string
	occurrences  map[string]occurrences
}

func (b *builder) addAll(i *Inventory) {
	for c, of := range i.configs {
		b.addConfig(&c, of)
	}
	for c, of := range i.certificates {
		b.addCertificate(&c, of)
	}
}

// addConfig adds what connections negotiated, and its algorithms.
func (b *builder) addConfig(c *config, of occurrences) {
	p := &protocolProperties{Type: "tls", Version: c.version}
	if c.protocol == "DTLS" {
		p.Type = "other" // CycloneDX has no type for it
	}
	name := c.protocol + " " + c.version
	if c.protocol == "QUIC" { // the version is that of its handshake
		name = "TLS " + c.version + " in QUIC"
	}
	var depends []string
	if c.suite != "" {
		name += ", " + c.suite
		refs := b.addAlgorithms(suiteAlgorithms(c.suite), of)
		p.Suites = []cipherSuite{{c.suite, refs}}
		depends = append(depends, refs...)
	}
	if c.group != "" {
		name += ", " + c.group
		p.Refs = b.addAlgorithms([]algorithm{groupAlgorithm(c.group)}, of)
		depends = append(depends, p.Refs...)
	}
	b.add(component{
		Type: assetType, Ref: "protocol/" + name, Name: name, Crypto: &cryptoProperties{AssetType: "protocol", Protocol: p},
		Properties: []property{{propertyOfGroups, c.postQuantum()}},
	}, of, depends)
}

// addCertificate adds a certificate, with the algorithms of its key and its signature.
func (b *builder) addCertificate(c *certificate, of occurrences) {
	p := &certificateProperties{Subject: c.subject, Issuer: c.issuer, From: c.from, Until: c.until, Format: "X.509"}
	var depends []string
	if a, ok := keyAlgorithm(c.key, c.bits); ok {
		depends = b.addAlgorithms([]algorithm{a}, of)
	}
	if c.signature != "" {
		refs := b.addAlgorithms([]algorithm{signatureAlgorithm(c.signature)}, of)
		p.Signature = refs[0]
		depends = append(depends, refs...)
	}
	name := c.subject
	if name == "" {
		name = "certificate " + c.sha256
	}
	b.add(component{
		Type: assetType, Ref: "certificate/" + c.sha256, Name: name, Hashes: []hash{{"SHA-256", strings.ToLower(c.sha256)}},
		Crypto: &cryptoProperties{AssetType: "certificate", Certificate: p},
	}, of, depends)
}

// addAlgorithms adds algorithms and their parts, and returns the references of the algorithms.
func (b *builder) addAlgorithms(all []algorithm, of occurrences) (refs []string) {
	for i := range all {
		a := &all[i]
		ref := "algorithm/" + a.primitive + "/" + a.name
		p := &algorithmProperties{a.primitive, a.parameter, a.curve, a.mode, a.classical, a.quantum}
		depends := b.addAlgorithms(a.parts, of)
		b.add(component{Type: assetType, Ref: ref, Name: a.name, Crypto: &cryptoProperties{AssetType: "algorithm", Algorithm: p}}, of, depends)
		refs = append(refs, ref)
	}
	return refs
}

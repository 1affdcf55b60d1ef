package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	rec "github.com/meshtls-tap/meshtls-tap/internal/record"
)

// record is one published record. TLS is never nil.
type record struct{ rec.Record }

func (r *record) client() netip.AddrPort { return netip.AddrPortFrom(r.Source.IP, r.Source.Port) }

func (r *record) server() netip.AddrPort {
	return netip.AddrPortFrom(r.Destination.IP, r.Destination.Port)
}

// redirected returns the address to which a redirection in the pod sent the connection, or the zero value if there
// was none.
func (r *record) redirected() netip.AddrPort {
	return netip.AddrPortFrom(r.Destination.NAT.IP, r.Destination.NAT.Port)
}

// pod returns the pod of the tap that wrote the record, as NAMESPACE-NAME. It returns "" for a record from a capture
// file.
func (r *record) pod() string {
	if r.Kubernetes.Namespace == "" {
		return ""
	}
	return r.Kubernetes.Namespace + "-" + r.Kubernetes.Pod.Name
}

// judged returns the judgement of a flow as text, which is compared and printed.
func (r *record) judged() string {
	m := &r.Meshtls
	out := []string{r.client().String() + " > " + r.server().String(), m.Scope, m.Verdict, r.Network.Protocol}
	if r.TLS.Version != "" {
		out = append(out, "TLS "+r.TLS.Version, r.TLS.Cipher, m.TLS.ClientAuth, m.TLS.ClientAuthBasis, m.TLS.Outcome)
	}
	return strings.Join(out, " ")
}

const (
	flows    = rec.DatasetFlow
	findings = rec.DatasetFinding
)

// load reads the records of a dataset from the files that match a pattern.
func load(pattern, dataset string) ([]*record, error) {
	files, err := filepath.Glob(pattern)
	if err != nil {
		return nil, err
	}

	var out []*record
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		records, err := decode(f)
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		for _, r := range records {
			if r.Event.Dataset == dataset {
				out = append(out, r)
			}
		}
	}
	return out, nil
}

// decode reads JSON lines.
func decode(in io.Reader) ([]*record, error) {
	var out []*record
	d := json.NewDecoder(bufio.NewReader(in))
	for {
		r := new(record)
		if err := d.Decode(r); errors.Is(err, io.EOF) {
			return out, nil
		} else if err != nil {
			return nil, fmt.Errorf("record %d: %w", len(out)+1, err)
		}
		if r.TLS == nil {
			r.TLS = &rec.TLS{}
		}
		out = append(out, r)
	}
}

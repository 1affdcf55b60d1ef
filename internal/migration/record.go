package migration

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/netip"
	"strings"

	"github.com/meshtls-tap/meshtls-tap/internal/record"
)

// Values of event.dataset.
const (
	findings = record.DatasetFinding
	postures = record.DatasetPosture
	ofTap    = record.DatasetTap
	flows    = record.DatasetFlow
)

var (
	errNotRecord = errors.New("not a record of meshtls-tap: expected a JSON object with event.dataset and meshtls")
	errSchema    = errors.New("meshtls.schema is not 1, the version that is read here")
)

// parse reads a record. The line is a JSON object, possibly after a key and a tab (the output of Kafka's
// console consumers) or in the envelope of kcat -J. Coverage and Tap of the result are never nil.
func parse(line []byte) (*record.Record, error) {
	line = bytes.TrimSpace(line)
	if at := bytes.IndexByte(line, '\t'); at >= 0 && (len(line) == 0 || line[0] != '{') {
		line = bytes.TrimSpace(line[at+1:])
	}

	var envelope struct {
		record.Record
		Payload string `json:"payload"`
	}

	if err := json.Unmarshal(line, &envelope); err != nil {
		return nil, parseError(err)
	}

	r := &envelope.Record
	if r.Meshtls.Schema == 0 && envelope.Payload != "" {
		r = new(record.Record)
		if err := json.Unmarshal([]byte(envelope.Payload), r); err != nil {
			return nil, parseError(err)
		}
	}

	switch {
	case r.Meshtls.Schema == 0 || !strings.HasPrefix(r.Event.Dataset, "meshtls."):
		return nil, errNotRecord
	case r.Meshtls.Schema != record.SchemaVersion:
		return nil, errSchema
	}

	if r.Meshtls.Coverage == nil {
		r.Meshtls.Coverage = &record.Coverage{}
	}

	if r.Meshtls.Coverage.Watched == nil {
		r.Meshtls.Coverage.Watched = &record.Watched{}
	}

	if r.Meshtls.Tap == nil {
		r.Meshtls.Tap = &record.Tap{}
	}
	return r, nil
}

// parseError returns an error about a line without the names of Go's types.
func parseError(err error) error {
	var kind *json.UnmarshalTypeError
	var form *json.SyntaxError
	switch {
	case errors.As(err, &kind):
		return errors.New("not a record of meshtls-tap: " + kind.Field + " has the wrong type (" + kind.Value + ")")
	case errors.As(err, &form):
		return errors.New("not JSON: " + form.Error())
	}
	return errors.New("not a record of meshtls-tap: " + err.Error()) // an invalid time or address
}

// workload returns the tapped workload as name.namespace, empty if it is unknown.
func workload(r *record.Record) string {
	name := r.Service.Name
	if name == "" {
		name = r.Kubernetes.Pod.Name
	}
	if name == "" || r.Kubernetes.Namespace == "" {
		return bounded(strings.ToLower(name))
	}
	return bounded(strings.ToLower(name + "." + r.Kubernetes.Namespace))
}

// bounded returns a copy of a name, "" if it is longer than maxName.
func bounded(name string) string {
	if len(name) > maxName {
		return ""
	}
	return strings.Clone(name)
}

// service returns a Kubernetes service's name as name.namespace, as meshtls.finding.group_id does. It accepts
// "web", "web.shop", "web.shop.svc", "web.shop.svc.cluster.local", and Istio's form in SNI
// (outbound_.PORT_.SUBSET_.HOST). It returns other names in lower case.
func service(name, namespace string) string {
	name = strings.TrimSuffix(name, ".")
	if strings.HasPrefix(name, "spiffe://") {
		return bounded(name)
	}

	name = strings.ToLower(name)
	if parts := strings.SplitN(name, "_.", 4); len(parts) == 4 && (parts[0] == "outbound" || parts[0] == "inbound") {
		name = parts[3]
	}

	labels := strings.Split(name, ".")
	switch {
	case len(labels) == 1 && namespace != "":
		name += "." + strings.ToLower(namespace)
	case len(labels) >= 3 && labels[2] == "svc":
		name = labels[0] + "." + labels[1]
	case len(labels) >= 4 && labels[3] == "svc": // a pod of a headless service
		name = labels[1] + "." + labels[2]
	}
	return bounded(name)
}

// isIdentity reports whether a mesh has given a name to a server in addition to the server's usual name. Such a name is
// a SPIFFE ID, which certificates of TLS 1.2 show, or a server name of Linkerd, Consul or Kuma (see the profiles of
// internal/verdict).
func isIdentity(name string) bool {
	return strings.HasPrefix(name, "spiffe://") || strings.Contains(name, ".serviceaccount.identity.linkerd.") ||
		strings.HasSuffix(name, ".consul") || strings.ContainsAny(name, "{_") || strings.HasPrefix(name, "sni.") && strings.Count(name, ".") >= 4
}

// address parses an address and ignores its zone. The result is invalid if text is not an address.
func address(text string) netip.Addr {
	a, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Addr{}
	}
	return bare(a)
}

// bare returns an address without its zone, and IPv4 in IPv6 as IPv4.
func bare(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

// stamp returns a time of a record in ns since the epoch, 0 if it is missing or implausible.
func stamp(t record.Time) int64 {
	if year := t.Std().Year(); year < 1971 || year > 2200 {
		return 0
	}
	return int64(t)
}

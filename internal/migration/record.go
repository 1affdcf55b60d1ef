package migration

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
	"time"
)

// record is the part of a published record that is used here.
type record struct {
	Timestamp string `json:"@timestamp"`
	Event     struct {
		Dataset  string `json:"dataset"`
		Action   string `json:"action"`
		Start    string `json:"start"`
		End      string `json:"end"`
		Sequence uint64 `json:"sequence"`
	} `json:"event"`
	Rule struct {
		ID string `json:"id"`
	} `json:"rule"`
	Network struct {
		Direction string `json:"direction"`
	} `json:"network"`
	Source      end `json:"source"`
	Destination end `json:"destination"`
	Kubernetes  struct {
		Namespace string `json:"namespace"`
		Pod       struct {
			Name string   `json:"name"`
			UID  string   `json:"uid"`
			IP   []string `json:"ip"`
		} `json:"pod"`
	} `json:"kubernetes"`
	Service struct {
		Name string `json:"name"`
	} `json:"service"`
	Orchestrator struct {
		Cluster struct {
			Name string `json:"name"`
		} `json:"cluster"`
	} `json:"orchestrator"`
	Meshtls *said `json:"meshtls"`
}

type end struct {
	IP   string `json:"ip"`
	Port uint16 `json:"port"`
}

// said is the object meshtls.
type said struct {
	Schema  int    `json:"schema"`
	Verdict string `json:"verdict"`
	Scope   string `json:"scope"`
	Class   string `json:"class"`
	Mesh    string `json:"mesh"`
	Run     string `json:"run"`
	Peer    struct {
		Name  string `json:"name"`
		Basis string `json:"name_basis"`
	} `json:"peer"`
	TLS struct {
		ClientAuth string `json:"client_auth"`
	} `json:"tls"`
	Reasons []string `json:"reasons"`
	Finding struct {
		State string `json:"state"`
		Count uint64 `json:"count"`
	} `json:"finding"`
	Edge *struct {
		Key         string `json:"key"`
		From        string `json:"from"`
		To          string `json:"to"`
		Port        uint16 `json:"port"`
		Folded      bool   `json:"folded"`
		Connections struct {
			Plaintext uint64 `json:"plaintext"`
			TLS       uint64 `json:"tls"`
			Encrypted uint64 `json:"encrypted"`
			MTLS      uint64 `json:"mtls"`
			Failed    uint64 `json:"failed"`
			Unknown   uint64 `json:"unknown"`
		} `json:"connections"`
	} `json:"edge"`
	Coverage struct {
		Dropped    uint64            `json:"dropped"`
		Evicted    uint64            `json:"evicted"`
		CutShort   uint64            `json:"cut_short"`
		Undecoded  map[string]uint64 `json:"undecoded"`
		Uncaptured []string          `json:"uncaptured_interfaces"`
		Filter     string            `json:"filter"`
		Blind      []string          `json:"rules_blind"`
	} `json:"coverage"`
	Tap struct {
		Blind       bool   `json:"blind"`
		EdgesGone   uint64 `json:"edges_gone"`
		EdgesFolded uint64 `json:"edges_folded"`
	} `json:"tap"`
	Local struct {
		Proxy string `json:"proxy"`
	} `json:"local"`
}

// The datasets, as internal/finding has them.
const (
	findings = "meshtls.finding"
	postures = "meshtls.posture"
	ofTap    = "meshtls.tap"
	flows    = "meshtls.flow"
)

var (
	errNotRecord = errors.New("not a record of meshtls-tap: expected a JSON object with event.dataset and meshtls")
	errSchema    = errors.New("meshtls.schema is not 1, the version that is read here")
)

// parse reads a record: a JSON object, also one after the key and the tab that console
// consumers of Kafka print, or one in the envelope of kcat -J.
func parse(line []byte) (*record, error) {
	line = bytes.TrimSpace(line)
	if at := bytes.IndexByte(line, '\t'); at >= 0 && (len(line) == 0 || line[0] != '{') {
		line = bytes.TrimSpace(line[at+1:])
	}
	var envelope struct {
		record
		Payload string `json:"payload"`
	}
	if err := json.Unmarshal(line, &envelope); err != nil {
		return nil, wrong(err)
	}
	r := &envelope.record
	if r.Meshtls == nil && envelope.Payload != "" {
		r = new(record)
		if err := json.Unmarshal([]byte(envelope.Payload), r); err != nil {
			return nil, wrong(err)
		}
	}
	switch {
	case r.Meshtls == nil || !strings.HasPrefix(r.Event.Dataset, "meshtls."):
		return nil, errNotRecord
	case r.Meshtls.Schema != 1:
		return nil, errSchema
	}
	return r, nil
}

// wrong describes the part of a line that cannot be read, without the names of Go's types.
func wrong(err error) error {
	var kind *json.UnmarshalTypeError
	var form *json.SyntaxError
	switch {
	case errors.As(err, &kind):
		return errors.New("not a record of meshtls-tap: " + kind.Field + " has the wrong type (" + kind.Value + ")")
	case errors.As(err, &form):
		return errors.New("not JSON: " + form.Error())
	}
	return err
}

// workload names the tapped workload as name.namespace, empty if it is unknown.
func (r *record) workload() string {
	name := r.Service.Name
	if name == "" {
		name = r.Kubernetes.Pod.Name
	}
	if name == "" || r.Kubernetes.Namespace == "" {
		return bounded(strings.ToLower(name))
	}
	return bounded(strings.ToLower(name + "." + r.Kubernetes.Namespace))
}

// bounded returns a name that is short enough to be kept, else "".
func bounded(name string) string {
	if len(name) > maxName {
		return ""
	}
	return strings.Clone(name)
}

// service brings the names that one Kubernetes service goes by to name.namespace: "web",
// "web.shop", "web.shop.svc", "web.shop.svc.cluster.local", and what Istio makes of them in
// SNI (outbound_.PORT_.SUBSET_.HOST), as meshtls.finding.group_id does. Others stay.
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

// isIdentity reports whether a name is one that only a mesh gives a server, so that the same
// server has another name without the mesh: SPIFFE IDs, which certificates of TLS 1.2 show, and
// the server names of Linkerd, Consul and Kuma (see the profiles of internal/verdict).
func isIdentity(name string) bool {
	return strings.HasPrefix(name, "spiffe://") || strings.Contains(name, ".serviceaccount.identity.linkerd.") ||
		strings.HasSuffix(name, ".consul") || strings.ContainsAny(name, "{_") || strings.HasPrefix(name, "sni.") && strings.Count(name, ".") >= 4
}

// address reads an address; the zone does not count.
func address(text string) netip.Addr {
	a, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Addr{}
	}
	return a.Unmap().WithZone("")
}

// stamp reads a time of a record, 0 if it is missing.
func stamp(text string) int64 {
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil || t.Year() < 1971 || t.Year() > 2200 { // the range of nanoseconds since 1970
		return 0
	}
	return t.UnixNano()
}

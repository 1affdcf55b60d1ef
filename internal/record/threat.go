package record

import "net/netip"

// Threat is ECS threat. Items at the same place in the lists of one object belong together.
type Threat struct {
	Framework string       `json:"framework,omitempty"` // "MITRE ATT&CK"
	Tactic    ThreatDetail `json:"tactic,omitzero"`
	Technique ThreatDetail `json:"technique,omitzero"`
}

// ThreatDetail is ECS threat.tactic or threat.technique.
type ThreatDetail struct {
	ID        []string `json:"id,omitempty"`
	Name      []string `json:"name,omitempty"`
	Reference []string `json:"reference,omitempty"` // URLs
}

// Related is ECS related: the values by which a record is found, whatever their fields are. Each value appears once.
type Related struct {
	IP    []netip.Addr `json:"ip,omitempty"`    // of a posture: addresses of the peer, the most frequent first, at most 4
	Hosts []string     `json:"hosts,omitempty"` // names of the server; in findings
	Hash  []string     `json:"hash,omitempty"`  // JA3, JA3S and hashes of certificates, written as in their fields; in findings
	User  []string     `json:"user,omitempty"`  // SPIFFE identities in certificates; in findings
}

// DataStream is ECS data_stream, which Logstash and Elastic Agent use to route a record.
type DataStream struct {
	Type      string `json:"type"`      // "logs"
	Dataset   string `json:"dataset"`   // Event.Dataset
	Namespace string `json:"namespace"` // "default"
}

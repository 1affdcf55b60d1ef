package finding

import (
	"slices"

	"github.com/meshtls-tap/meshtls-tap/internal/record"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// class holds the fields that rules of one purpose share.
type class struct {
	category string         // rule.category
	threat   *record.Threat // shared: not to be changed
}

// Techniques of MITRE ATT&CK, each with its tactics: https://attack.mitre.org/techniques/T1040/ and T1557.
var (
	noThreat     = &record.Threat{}
	sniffing     = threatOf(tactics{"TA0006", "TA0007"}, "T1040")
	interception = threatOf(tactics{"TA0006", "TA0009"}, "T1557")
	both         = threatOf(tactics{"TA0006", "TA0007", "TA0009"}, "T1040", "T1557")
)

// classes maps each rule.id to its class. A technique is one that succeeds because of the fault that the rule finds, or that
// the finding may show. Most findings are faults of a configuration: none proves that somebody has used a technique.
var classes = map[string]class{
	"plaintext-edge":                {"plaintext", sniffing},
	"credentials-in-clear":          {"plaintext", sniffing},
	"plaintext-accepted":            {"plaintext", sniffing},
	"tls-not-mutual":                {"authentication", interception},
	"identity-mismatch":             {"authentication", interception},
	"mtls-downgrade":                {"downgrade", interception}, // sniffing too if it is to plaintext: see threatIn
	"key-exchange-downgrade":        {"downgrade", sniffing},
	"tls-version-weak":              {"cryptography", both},
	"cipher-weak":                   {"cryptography", sniffing},
	"key-exchange-not-post-quantum": {"cryptography", sniffing},
	"certificate-weak":              {"certificate", interception},
	"certificate-expired":           {"certificate", noThreat},
	"certificate-expiring":          {"certificate", noThreat},
	"handshake-failed":              {"handshake", noThreat},
	"edge-unjudged":                 {"visibility", noThreat},
	"tap-blind":                     {"visibility", noThreat},
}

// tactics lists IDs of tactics.
type tactics []string

// names maps the IDs of tactics and techniques to their names.
var names = map[string]string{
	"TA0006": "Credential Access", "TA0007": "Discovery", "TA0009": "Collection",
	"T1040": "Network Sniffing", "T1557": "Adversary-in-the-Middle",
}

const attackBase = "https://attack.mitre.org/"

// threatOf is not inlined, because the code of four calls takes 5 KB.
//
//go:noinline
func threatOf(of tactics, techniques ...string) *record.Threat {
	return &record.Threat{Framework: "MITRE ATT&CK", Tactic: detail("tactics/", of), Technique: detail("techniques/", techniques)}
}

//go:noinline
func detail(folder string, ids []string) (d record.ThreatDetail) {
	for _, id := range ids {
		d.ID, d.Name, d.Reference = append(d.ID, id), append(d.Name, names[id]), append(d.Reference, attackBase+folder+id+"/")
	}
	return d
}

// threatIn returns the threat of a rule for a connection with a verdict.
func threatIn(rule string, v verdict.Verdict) record.Threat {
	if rule == rules[mtlsDowngrade].id && v == verdict.Plaintext {
		return *both
	}
	return *classes[rule].threat
}

// Constants of the rules.
const (
	ruleset     = "meshtls-tap"
	ruleVersion = "1"
	ruleLicense = "Apache-2.0"
	module      = "meshtls" // event.module
	provider    = "meshtls-tap"
)

// Lists that all findings share. They must not be changed.
var (
	ruleAuthors = []string{"meshtls-tap"}
	ofDetection = []string{"network", "intrusion_detection"} // event.category of findings about connections
)

// classify sets the members of a finding that follow from its rule: rule, threat, tags, data_stream and some of event.
func classify(r *record.Record, of *rule, severity int64) {
	c := classes[of.id]
	r.Rule = record.Rule{
		ID: of.id, Name: of.name, Reference: of.reference(), Category: c.category,
		Ruleset: ruleset, Version: ruleVersion, Author: ruleAuthors, License: ruleLicense,
	}
	r.Event.Severity, r.Event.RiskScore = &severity, &severity
	r.Event.Module, r.Event.Provider, r.Event.Reference = module, provider, r.Rule.Reference
	r.Threat = *c.threat
	r.Tags = []string{module, c.category}
	r.DataStream = record.DataStream{Type: "logs", Dataset: r.Event.Dataset, Namespace: "default"}
}

// setObserver sets the members of observer that only findings have.
func (e *Engine) setObserver(o *record.Observer) {
	o.Vendor, o.Name, o.Hostname = provider, e.cfg.Identity.workload(), e.cfg.Identity.Pod
}

// setRelated sets the members of a finding that repeat values, so that a search finds them whatever their fields are.
func setRelated(r *record.Record, j *verdict.Judged) {
	r.Source.Address, r.Destination.Address = r.Source.IP.String(), r.Destination.IP.String()
	r.Network.IANANumber = "6"
	if j.Transport == "udp" {
		r.Network.IANANumber = "17"
	}
	x := &r.Related
	x.Hosts = distinct(r.Destination.Domain, r.URL.Domain)
	if t := r.TLS; t != nil {
		x.Hosts = distinct(append(x.Hosts, t.Client.ServerName)...)
		x.Hash = distinct(t.Client.JA3, t.Server.JA3S, t.Client.Hash.SHA256, t.Server.Hash.SHA256)
		x.User = distinct(spiffeOf(j.TLS.Client), spiffeOf(j.TLS.Server))
	}
}

// spiffeOf returns the SPIFFE identity in a certificate, or "".
func spiffeOf(c *verdict.Certificate) string {
	if c == nil {
		return ""
	}
	return c.SPIFFE
}

// distinct returns the texts that are not empty, each once.
func distinct(texts ...string) (out []string) {
	for _, s := range texts {
		if s != "" && !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

// Values of event.outcome.
const (
	outcomeSuccess = "success"
	outcomeFailure = "failure"
	outcomeUnknown = "unknown"
)

// outcomeOf returns the outcome of a connection: a failure if no connection was established or its handshake failed, a
// success if payload of both ends was seen.
func outcomeOf(j *verdict.Judged) string {
	switch {
	case j.Verdict == verdict.Failed, slices.Contains([]string{"REJ", "S0", "SH", "RSTOS0"}, j.State) && j.Transport == "tcp":
		return outcomeFailure
	case j.Source.Bytes > 0 && j.Destination.Bytes > 0:
		return outcomeSuccess
	}
	return outcomeUnknown
}

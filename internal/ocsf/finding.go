package ocsf

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"

	"github.com/meshtls-tap/meshtls-tap/internal/record"
)

const detectionFinding = 2004

// Values of attributes of Detection Finding and its objects.
const (
	findingCreate = 1 // activity_id
	findingUpdate = 2
	findingClose  = 3

	statusNew        = 1 // status_id
	statusInProgress = 2
	statusResolved   = 4
	statusDeleted    = 6

	actionObserved      = 3  // action_id: neither allowed nor denied
	dispositionDetected = 15 // disposition_id: detected without further action
	analyticRule        = 1  // analytic.type_id
	roleAffected        = 3  // resources.role_id
	observableHostname  = 1  // observables.type_id
	observableIP        = 2
)

// finding writes a finding about an edge or about the tap. The tap observes and takes no action, which the profile
// security_control reports.
func (e *event) finding() {
	f := &e.Meshtls.Finding
	activity := int64(findingUpdate)
	switch f.State {
	case "open":
		activity = findingCreate
	case "resolved", "withdrawn":
		activity = findingClose
	}
	e.class(detectionFinding, activity, "")
	e.base(severityOf(e.Event.Severity), "security_control")
	e.boolean("is_alert", e.Event.Kind == "alert")
	e.findingStatus()
	e.number("action_id", actionObserved)
	e.number("disposition_id", dispositionDetected)
	e.number("count", int64(f.Count))
	if s := e.Event.RiskScore; s != nil {
		e.number("risk_score", *s)
	}
	e.object("finding_info", e.findingInfo)
	e.object("remediation", func() {
		e.text("desc", "See the description of the rule.")
		e.texts("references", []string{e.Rule.Reference})
	})
	e.list("resources", e.resources)
	if e.Source.IP.IsValid() {
		e.list("evidences", func() { e.object("", e.evidence) })
		e.list("observables", e.observables)
	}
	e.unmapped(func() {
		e.object("event", func() { e.text("outcome", e.Event.Outcome) })
		e.object("rule", func() {
			e.text("ruleset", e.Rule.Ruleset)
			e.texts("author", e.Rule.Author)
			e.text("license", e.Rule.License)
		})
		e.unmappedEvidence()
	})
}

// severityOf maps event.severity, whose steps are 21, 47, 73 and 99, to severity_id.
func severityOf(severity *int64) int64 {
	switch {
	case severity == nil:
		return informational
	case *severity >= 99:
		return critical
	case *severity >= 73:
		return high
	case *severity >= 47:
		return medium
	case *severity >= 21:
		return low
	}
	return informational
}

// findingStatus writes the status. A resolved finding without connections was retracted.
func (e *event) findingStatus() {
	switch f := &e.Meshtls.Finding; {
	case f.State == "open":
		e.status(statusNew, "")
	case f.State == "resolved" && f.Count == 0:
		e.status(statusDeleted, "")
	case f.State == "resolved":
		e.status(statusResolved, "")
	case f.State == "ongoing":
		e.status(statusInProgress, "")
	default:
		e.status(other, f.State)
	}
}

func (e *event) findingInfo() {
	e.text("uid", e.findingUID())
	e.text("title", e.Rule.Name)
	e.texts("types", []string{e.Rule.ID})
	e.time("first_seen_time", e.Meshtls.Finding.FirstSeen)
	e.time("last_seen_time", e.Event.End)
	e.object("analytic", func() {
		e.number("type_id", analyticRule)
		e.text("uid", e.Rule.ID)
		e.text("name", e.Rule.Name)
		e.text("category", e.Rule.Category)
		e.text("version", e.Rule.Version)
	})
	e.list("attacks", func() {
		e.attacks("technique", &e.Threat.Technique)
		e.attacks("tactic", &e.Threat.Tactic)
	})
}

// attacks writes an item for each technique or tactic, since a record does not pair them.
func (e *event) attacks(name string, t *record.ThreatDetail) {
	for i := range min(len(t.ID), len(t.Name), len(t.Reference)) {
		e.object("", func() {
			e.object(name, func() {
				e.text("uid", t.ID[i])
				e.text("name", t.Name[i])
				e.text("src_url", t.Reference[i])
			})
		})
	}
}

// findingUID returns the same text for all records of one finding, from open to its end: a hash of tap, run, rule, edge and
// first connection. meshtls.finding.group_id, which findings of replicas have in common, is metadata.correlation_uid.
func (e *event) findingUID() string {
	m := &e.Meshtls
	sum := sha256.Sum256([]byte(strings.Join([]string{
		e.Kubernetes.Pod.UID, m.Run, e.Rule.ID, m.Edge.Key, strconv.FormatInt(int64(m.Finding.FirstSeen), 10),
	}, "\x00")))
	return hex.EncodeToString(sum[:16])
}

// resources writes the tapped pod and its workload.
func (e *event) resources() {
	k := &e.Kubernetes
	if p := &k.Pod; p.Name != "" || p.UID != "" {
		e.object("", func() {
			e.text("name", p.Name)
			e.text("uid", p.UID)
			e.text("type", "Pod")
			e.text("namespace", k.Namespace)
			if len(p.IP) > 0 {
				e.ip(p.IP[0])
			}
			e.number("role_id", roleAffected)
		})
	}
	if e.Service.Name != "" {
		e.object("", func() {
			e.text("name", e.Service.Name)
			e.text("type", workloadKind(k))
			e.text("namespace", k.Namespace)
			e.number("role_id", roleAffected)
		})
	}
}

// workloadKind returns the kind of the tapped workload, or "" if it is unknown.
func workloadKind(k *record.Kubernetes) string {
	for _, w := range [...]struct {
		kind string
		of   record.Name
	}{
		{"Deployment", k.Deployment}, {"StatefulSet", k.StatefulSet}, {"DaemonSet", k.DaemonSet},
		{"Job", k.Job}, {"CronJob", k.CronJob}, {"ReplicaSet", k.ReplicaSet},
	} {
		if w.of.Name != "" {
			return w.kind
		}
	}
	return ""
}

// evidence writes the latest connection that broke the rule.
func (e *event) evidence() {
	e.connection()
	e.request()
	if code := e.HTTP.Response.StatusCode; code != 0 {
		e.object("http_response", func() { e.count("code", code) })
	}
	e.url()
}

// methods are the values of http_request.http_method.
var methods = []string{"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"}

// request writes the first HTTP request. A method that OCSF does not have is in unmapped.
func (e *event) request() {
	e.object("http_request", func() {
		if slices.Contains(methods, e.HTTP.Request.Method) {
			e.text("http_method", e.HTTP.Request.Method)
		}
		e.text("version", e.HTTP.Version)
		e.text("user_agent", e.UserAgent.Original)
	})
}

// unmappedEvidence writes the members of the latest connection without an attribute in Detection Finding.
func (e *event) unmappedEvidence() {
	e.object("network", func() {
		e.text("protocol", e.Network.Protocol)
		e.count("bytes", e.Network.Bytes)
		e.count("packets", e.Network.Packets)
	})
	e.object("source", func() {
		e.count("bytes", e.Source.Bytes)
		e.count("packets", e.Source.Packets)
	})
	e.object("destination", func() {
		e.count("bytes", e.Destination.Bytes)
		e.count("packets", e.Destination.Packets)
		e.nat()
	})
	e.unmappedTLS()
	if m := e.HTTP.Request.Method; !slices.Contains(methods, m) {
		e.object("http", func() { e.object("request", func() { e.text("method", m) }) })
	}
	if e.URL.Path == "" {
		e.part("url", &e.URL)
	}
}

// observables writes the addresses and the names of the latest connection.
func (e *event) observables() {
	e.observable(observableIP, "evidences.src_endpoint.ip", e.Source.IP.String())
	e.observable(observableIP, "evidences.dst_endpoint.ip", e.Destination.IP.String())
	e.observable(observableHostname, "evidences.dst_endpoint.hostname", e.Destination.Domain)
	if t := e.TLS; t != nil && t.Client.ServerName != e.Destination.Domain {
		e.observable(observableHostname, "evidences.tls.sni", t.Client.ServerName)
	}
}

// observable writes an item of observables: the value of the attribute name.
func (e *event) observable(kind int64, name, value string) {
	if value == "" {
		return
	}
	e.object("", func() {
		e.number("type_id", kind)
		e.text("name", name)
		e.text("value", value)
	})
}

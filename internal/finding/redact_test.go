package finding_test

import (
	"strings"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/finding"
)

// Texts from the wire, each with the lowest level that leaves it out of records.
var wireTexts = map[string]finding.Redact{
	"SECRETPATH": finding.RedactDefault, "SECRETAGENT": finding.RedactDefault,
	"host.example": finding.RedactStrict, "sni.example": finding.RedactStrict, "subject.example": finding.RedactStrict, "issuer.example": finding.RedactStrict,
	"san.example": finding.RedactStrict, "spiffe://td/peer": finding.RedactStrict, "peer.example": finding.RedactStrict,
}

// TestRedact: no record and no summary contains a text that its level leaves out.
func TestRedact(t *testing.T) {
	levels := []finding.Redact{finding.RedactNone, finding.RedactDefault, finding.RedactStrict}
	for at, level := range levels {
		t.Run(string(level), func(t *testing.T) {
			r := newRig(t, finding.Config{Redact: level, Mesh: "istio", Identity: pod})
			h := plain(1, noon)
			h.HTTP.Host, h.HTTP.Path, h.HTTP.UserAgent, h.PeerName = "host.example", "/SECRETPATH", "SECRETAGENT", "peer.example"
			r.e.Add(h)
			x := everything()
			x.TLS.ServerName, x.PeerName = "sni.example", "spiffe://td/peer"
			x.TLS.Client.Subject, x.TLS.Client.Issuer, x.TLS.Client.AlternativeNames = "CN=subject.example", "CN=issuer.example", []string{"san.example"}
			x.TLS.Server.Subject, x.TLS.Server.Issuer, x.TLS.Server.AlternativeNames = "CN=subject.example", "CN=issuer.example", []string{"san.example"}
			r.e.Add(x)
			y := oneWay(9, noon)
			y.TLS.ServerName, y.PeerName = "sni.example", "sni.example"
			r.e.Add(y)
			r.e.Flush(noon + minute)
			var all strings.Builder
			for _, x := range r.records {
				all.Write(x.Value)
				all.WriteString(x.Key)
			}
			for text, keeper := range wireTexts {
				kept := at >= index(levels, keeper)
				if got := strings.Contains(all.String(), text); got == kept {
					t.Errorf("%q: in the records %t, want %t", text, got, !kept)
				}
			}
			if level != finding.RedactStrict {
				return
			}
			for _, e := range r.e.Summary().Edges {
				for text := range wireTexts {
					if strings.Contains(e.Key+e.From+e.To, text) {
						t.Errorf("%q in edge %s", text, e.Key)
					}
				}
			}
			if x.TLS.ServerName != "sni.example" || x.TLS.Client.Subject == "" || h.HTTP.Host == "" {
				t.Error("the caller's connection was changed")
			}
		})
	}
}

func index(list []finding.Redact, r finding.Redact) int {
	for i, x := range list {
		if x == r {
			return i
		}
	}
	return -1
}

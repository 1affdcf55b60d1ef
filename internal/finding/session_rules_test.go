package finding_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/finding"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// oldTLS returns a one-way connection over TLS 1.0 to a peer without a name.
func oldTLS(id uint64, start int64) *verdict.Judged {
	j := oneWay(id, start)
	j.TLS.Version, j.TLS.Cipher, j.TLS.KeyShare = "1.0", "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA", ""
	j.PeerName, j.PeerNameBasis = "", ""
	return j
}

// TestSessionRulesAreRaised: when the expectation of a live connection becomes stricter, its finding becomes
// more severe at once.
func TestSessionRulesAreRaised(t *testing.T) {
	r := newRig(t, finding.Config{})
	r.e.Add(living(oldTLS(1, noon)))
	r.e.Add(mutual(2, noon+minute)) // shows a mesh, so mutual TLS is expected from now on
	equal(t, r.findings(), []string{"tls-version-weak open 21 x1", "tls-not-mutual open 47 x1", "tls-version-weak ongoing 47 x1"})
}

// TestSessionRulesEnd: a finding of a rule about a session is resolved by a whole window with judged connections that do
// not break the rule, and muting withdraws it.
func TestSessionRulesEnd(t *testing.T) {
	r := newRig(t, finding.Config{})
	r.e.Tick(noon)
	r.e.Add(oldTLS(1, noon))
	r.e.Tick(noon + 10*minute)
	better := oldTLS(2, noon+11*minute)
	better.TLS.Version = "1.2"
	r.e.Add(better)
	r.e.Tick(noon + 20*minute)
	r.e.Add(oldTLS(3, noon+21*minute))
	r.e.Mute(mutes(r.t, "tls-version-weak"))
	equal(t, r.findings(), []string{
		"tls-version-weak open 21 x1", "tls-version-weak resolved 0 x1", "tls-version-weak open 21 x1", "tls-version-weak withdrawn 0 x1",
	})
	for _, d := range r.of(finding.DatasetFinding)[1:2] {
		if got, want := d.text("message"), "TLS 1.0 from 10.1.1.2 to 10.2.2.2 port 443 was not seen again: 1 connection judged in 12:10-12:20, none like it."; got != want {
			t.Errorf("message %q, want %q", got, want)
		}
	}
}

// TestFoldOfOtherRules: a finding that counts others describes the latest in the words of its rule.
func TestFoldOfOtherRules(t *testing.T) {
	to := func(j *verdict.Judged, last byte) *verdict.Judged {
		j.Destination.Addr = netip.AddrFrom4([4]byte{10, 2, 2, last})
		return j
	}
	for want, of := range map[string]func(id uint64) *verdict.Judged{
		"In the latest, 10.1.1.2 spoke TLS 1.0 to 10.2.2.3 port 443.": func(id uint64) *verdict.Judged {
			return oldTLS(id, noon+int64(id)*second)
		},
		"In the latest, 10.1.1.2 sent unjudged data to 10.2.2.3 port 9000.": func(id uint64) *verdict.Judged {
			return talk(id, noon+int64(id)*second, verdict.Unknown, "", 9000)
		},
	} {
		r := newRig(t, finding.Config{Announcements: 1})
		for id := range uint64(20) {
			r.e.Add(to(of(id), 2+byte(id/10)))
		}
		r.e.Tick(noon + 10*minute)
		var got string
		for _, d := range r.of(finding.DatasetFinding) {
			if d.text("meshtls.edge.key") == "folded" {
				got = d.text("message")
			}
		}
		if !strings.HasSuffix(got, want) {
			t.Errorf("message %q, want the end %q", got, want)
		}
	}
}

// TestDeprecatedVersions: the message cites the RFC that deprecates the version.
func TestDeprecatedVersions(t *testing.T) {
	for _, c := range []struct{ protocol, version, want string }{
		{"ssl", "2.0", "SSL 2.0 to 10.2.2.2 port 443, a version that is deprecated (RFC 6176)."},
		{"ssl", "3.0", "SSL 3.0 to 10.2.2.2 port 443, a version that is deprecated (RFC 7568)."},
		{"tls", "1.1", "TLS 1.1 to 10.2.2.2 port 443, a version that is deprecated (RFC 8996)."},
		{"dtls", "1.0", "DTLS 1.0 to 10.2.2.2 port 443, a version that is deprecated (RFC 8996)."},
	} {
		r := newRig(t, finding.Config{})
		j := oldTLS(1, noon)
		j.TLS.VersionProtocol, j.TLS.Version, j.TLS.Established = c.protocol, c.version, c.version != "2.0" // the end of a handshake of SSL 2.0 is not read
		r.e.Add(j)
		if got := r.of(finding.DatasetFinding)[0].text("message"); !strings.HasSuffix(got, c.want) {
			t.Errorf("message %q, want the end %q", got, c.want)
		}
	}
}

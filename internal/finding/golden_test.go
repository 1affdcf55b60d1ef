package finding_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/credentials"
	"github.com/meshtls-tap/meshtls-tap/internal/finding"
	"github.com/meshtls-tap/meshtls-tap/internal/record"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares records with a golden file, which contains each record as indented JSON.
func golden(t *testing.T, name string, records []finding.Record) {
	t.Helper()
	var got bytes.Buffer
	for _, r := range records {
		if err := json.Indent(&got, r.Value, "", "  "); err != nil {
			t.Fatal(err)
		}
		got.WriteString("\n")
	}
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want) {
		t.Errorf("%s differs: run with -update and read the difference. Got:\n%s", file, got.Bytes())
	}
}

// everything returns a TLS 1.2 connection with every field that a record can have.
func everything() *verdict.Judged {
	j := tlsTalk(4, noon+40*second, verdict.MTLS, verdict.AuthPresented)
	leaf := verdict.Certificate{
		Subject: "CN=httpbin,O=shop", Issuer: "CN=mesh CA,O=example", NotBefore: noon/second - 3600, NotAfter: noon/second + 86400,
		SHA256:           "00ff00112233445566778899aabbccddeeff00112233445566778899aabbccdd",
		AlternativeNames: []string{"httpbin.shop", "spiffe://cluster.local/ns/shop/sa/httpbin"}, SPIFFE: "spiffe://cluster.local/ns/shop/sa/httpbin",
		PublicKeyAlgorithm: "ECDSA", PublicKeySize: 256, SignatureAlgorithm: "ECDSA-SHA256", SerialNumber: "0F1E2D", ChainLength: 2,
	}
	client := leaf
	client.Subject, client.SPIFFE = "CN=web,O=front", "spiffe://cluster.local/ns/front/sa/web"
	client.AlternativeNames = []string{client.SPIFFE}
	x := j.TLS
	x.Version, x.Cipher, x.NextProtocol, x.Resumed, x.Client, x.Server = "1.2", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "h2", true, &client, &leaf
	x.ClientAuthBasis, x.ClientAuthAge, x.ClientChainBytes, x.ClientKeyHint = verdict.BasisObserved, 3600e9, 1180, "ecdsa-p256"
	x.HelloRetry, x.EarlyData, x.UpgradedFrom, x.Alert = true, true, "smtp", "close_notify"
	j.NAT = verdict.Endpoint{Addr: netip.MustParseAddr("127.0.0.1"), Port: 15001}
	j.Credentials = credentials.HTTPBasic | credentials.SASLPlain
	j.Mesh, j.MissedBytes, j.Claimed = "istio", 7, "mesh_control"
	j.PeerName, j.PeerNameBasis = leaf.SPIFFE, "spiffe"
	return j
}

func TestGoldenFlow(t *testing.T) {
	r := newRig(t, finding.Config{Tap: pod.UID, Identity: pod})
	r.e.Add(plain(1, noon))
	r.e.Add(mutual(2, noon+10*second))
	r.e.Add(everything())
	silent := talk(5, noon+50*second, verdict.None, "", 8080)
	silent.State, silent.Reasons, silent.Source.Bytes, silent.Destination = "S0", nil, 0, verdict.Endpoint{Addr: netip.MustParseAddr("fd00::9"), Port: 8080}
	silent.Source.Addr, silent.FlowHash = netip.MustParseAddr("fd00::2"), verdict.FlowHash{}
	r.e.Add(silent)
	golden(t, "flow.json", only(r, finding.DatasetFlow))
}

func TestGoldenRedactNone(t *testing.T) {
	r := newRig(t, finding.Config{Tap: "read", Redact: finding.RedactNone})
	r.e.Add(plain(1, noon))
	golden(t, "redact-none.json", only(r, finding.DatasetFlow))
}

func only(r *rig, dataset string) []finding.Record {
	var out []finding.Record
	for _, x := range r.records {
		if x.Dataset == dataset {
			out = append(out, x)
		}
	}
	return out
}

// TestGoldenFinding: the findings of three rules, two of them from the first hit to the end, are as in the golden file.
func TestGoldenFinding(t *testing.T) {
	stored := func(*finding.Alert) record.Evidence {
		return record.Evidence{Name: "20260101T120100.000000000Z-plaintext-edge-0123456789ab.meshtls.pcapng", SHA256: strings.Repeat("0123456789abcdef", 4), Length: 2180}
	}
	r := newRig(t, finding.Config{Tap: pod.UID, Identity: pod, Mesh: "istio", Coverage: covered(12, 1), Evidence: stored})
	r.e.Tick(noon)
	r.e.Add(plain(1, noon+minute))
	r.e.Add(oneWay(2, noon+2*minute))
	r.e.Add(plain(3, noon+3*minute))
	r.e.Tick(noon + 10*minute)
	clean := mutual(4, noon+11*minute)
	clean.PeerName, clean.Destination.Port = "httpbin.shop", 80
	r.e.Add(clean)
	expired := everything()
	expired.TLS.Server.NotAfter = noon/second - 60
	expired.Start, expired.Last = noon+12*minute, noon+12*minute+3*second
	r.e.Add(expired)
	r.e.Tick(noon + 20*minute)
	golden(t, "finding.json", only(r, finding.DatasetFinding))
}

// TestGoldenFolded: beyond the limit of a window, one finding counts the others, and heartbeats count the
// postures that wait.
func TestGoldenFolded(t *testing.T) {
	r := newRig(t, finding.Config{Tap: pod.UID, Identity: pod, Mesh: "istio", Announcements: 1, Heartbeat: 10 * time.Minute, Coverage: covered(12, 1)})
	r.e.Tick(noon)
	for n := range uint64(3) {
		r.e.Add(invented(n, noon+minute))
	}
	r.e.Tick(noon + 10*minute)
	golden(t, "folded.json", append(only(r, finding.DatasetFinding)[1:], only(r, finding.DatasetTap)...))
}

func TestGoldenPosture(t *testing.T) {
	r := newRig(t, finding.Config{Tap: pod.UID, Identity: pod, Mesh: "istio", NodeEncryption: "wireguard", Filter: "tcp", Coverage: covered(12, 1)})
	r.e.Tick(noon)
	r.e.Add(mutual(1, noon+minute))
	r.e.Add(oneWay(2, noon+2*minute))
	unknown := talk(3, noon+3*minute, verdict.Unknown, "", 9000)
	unknown.Reasons, unknown.Direction = []string{"unrecognized_data"}, verdict.DirectionIngress
	r.e.Add(unknown)
	muted := mutes(t, "tls-not-mutual;rule=mtls-downgrade,peer=10.2.0.0/16,port=443,until=2026-12-31,reason=the cache is moved to another mesh")
	muted[0].Namespace = true
	r.e.Mute(muted)
	r.e.Namespace([]finding.Expectation{{Prefix: netip.MustParsePrefix("10.9.0.0/16"), Port: 5432, Want: finding.ExpectTLS}})
	inside := plain(4, noon+4*minute)
	inside.Scope, inside.Direction, inside.Interface = verdict.ScopePod, verdict.DirectionInternal, "lo"
	r.e.Add(inside)
	for i := range uint64(12) {
		retried := mutual(5+i, noon+5*minute)
		retried.TLS.HelloRetry, retried.TLS.Cipher, retried.TLS.Curve = i%3 == 0, "TLS_AES_256_GCM_SHA384", "X25519MLKEM768"
		if i%4 == 0 {
			retried.Protocol = "quic"
		}
		retried.Destination.Addr = netip.AddrFrom4([4]byte{10, 2, 2, byte(10 + i%6)})
		r.e.Add(retried)
	}
	r.e.Tick(noon + 10*minute)
	golden(t, "posture.json", only(r, finding.DatasetPosture))
}

func TestGoldenTap(t *testing.T) {
	clock := time.Unix(0, noon).Add(7 * time.Millisecond)
	eth0 := finding.InterfaceState{Name: "eth0", Captured: true, Since: noon, Packets: 5}
	r := newRig(t, finding.Config{
		Tap: pod.UID, Identity: pod, Heartbeat: 5 * time.Minute, Coverage: covered(12, 1), Now: func() time.Time { return clock },
		Interfaces: func() []finding.InterfaceState {
			return []finding.InterfaceState{eth0, {Name: "lo", Captured: true, Since: noon, Packets: 7, Dropped: 1}}
		},
	})
	muted := mutes(t, `rule=plaintext-edge,peer=10.0.0.0/8,peer=cache.shop,port=6379,port=6380,class=metrics,until=2026-12-31,reason=the cache has no TLS yet
		rule=cipher-weak,until=2026-11-27,reason=two old printers, replaced on Friday; rule=tls-version-weak,until=2025-12-31,reason=SHOP-7; handshake-failed`)
	muted[1].Namespace = true
	r.e.Mute(muted)
	r.e.Started(noon, finding.SelfTest{Interfaces: []string{"eth0", "lo"}, Checks: []finding.Check{
		{Name: "capture_eth0", OK: true}, {Name: "self_test", OK: true, Detail: "passed in 20 ms: mtls with a client certificate, tls without"}, {Name: "sink", Detail: "connection refused: see TAP_KAFKA_BROKERS"},
	}, Gap: &finding.Gap{Network: noon - second, Captured: noon - second/4, Connections: 2}})
	r.e.Tick(noon + 5*minute)
	eth0.Captured, eth0.Since, eth0.Error = false, noon+6*minute, "interface eth0 is gone"
	r.e.Lost(noon+6*minute, "eth0", eth0.Error)
	r.e.Tick(noon + 6*minute + 6*second)
	eth0.Captured, eth0.Since, eth0.Error = true, noon+6*minute+20*second, ""
	r.e.Recovered(noon+6*minute+20*second, "eth0")
	r.e.Degraded(noon+6*minute+30*second, "2 records were dropped")
	r.e.Flush(noon + 7*minute)
	r.e.Stopped(noon+7*minute, "SIGTERM")
	golden(t, "tap.json", r.records)
}

// covered returns a function for Config.Coverage whose totals grow with each call.
func covered(packets, dropped uint64) func() finding.Coverage {
	var c finding.Coverage
	return func() finding.Coverage {
		c.Packets += packets
		c.Dropped += dropped
		c.Counters = map[string]uint64{"sink_dropped_flows": c.Dropped, "gap_bytes": 0}
		c.Undecoded = map[string]uint64{"sctp": c.Dropped, "arp": c.Packets}
		return c
	}
}

// TestReplay: a second run over the same capture emits the same bytes.
func TestReplay(t *testing.T) {
	run := func() []finding.Record {
		r := newRig(t, finding.Config{Coverage: covered(1, 0)})
		for i := range uint64(40) {
			j := mutual(i, noon+int64(i)*minute)
			if i%3 == 0 {
				j = plain(i, noon+int64(i)*minute)
			}
			r.e.Add(living(j))
			r.e.Add(j)
		}
		r.e.Flush(noon + 60*minute)
		return r.records
	}
	a, b := run(), run()
	if len(a) != len(b) || len(a) < 50 {
		t.Fatalf("%d and %d records", len(a), len(b))
	}
	ids := map[string]bool{}
	for i := range a {
		if !bytes.Equal(a[i].Value, b[i].Value) || a[i].ID != b[i].ID || a[i].Key != b[i].Key {
			t.Errorf("record %d differs:\n%s\n%s", i, a[i].Value, b[i].Value)
		}
		if ids[a[i].ID] {
			t.Errorf("event.id %s twice", a[i].ID)
		}
		ids[a[i].ID] = true
	}
}

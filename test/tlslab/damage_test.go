package tlslab_test

import (
	"encoding/binary"
	"flag"
	"slices"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

var pairs = flag.Int("pairs", 0, "number of `pairs` of packets of each capture that TestPartOfACapture removes; -1: all")

// contradicts reports whether a judgement claims something untrue. If packets are missing, the judgement may claim
// less than the truth, but nothing untrue.
func contradicts(r row, j *verdict.Judged) bool {
	if j.Verdict == verdict.MTLS && (r["client_auth"] != verdict.AuthPresented || r["outcome"] != "established") {
		return true
	}
	if j.Verdict == verdict.Plaintext || j.Verdict == verdict.Encrypted || j.Verdict == verdict.Failed && r["outcome"] == "established" {
		return true
	}
	if j.TLS == nil || j.TLS.ClientAuth == verdict.AuthUnknown {
		return false
	}
	return r["client_auth"] != "" && j.TLS.ClientAuth != r["client_auth"] || r["client_auth"] == "" && j.TLS.ClientAuth == verdict.AuthPresented
}

// TestPartOfACapture checks that no part of a capture leads to an untrue claim about a certificate, a refusal or
// plaintext. The parts are: all packets but one, at the capture's speed and at two others; all packets but two (with
// -pairs); the start of the capture up to any packet, and the rest; one direction only; and all packets with a short
// snap length.
func TestPartOfACapture(t *testing.T) {
	files, rows := manifest(t)
	parts, claims := 0, 0
	for _, file := range files {
		if file == "openssl/old-renegotiated.pcap.gz" {
			continue // this part is judged correctly: no certificate was requested before the renegotiation
		}
		frames := load(t, capturePath(file))
		truth := map[pair]row{}
		for i, j := range judge(frames) {
			truth[pairOf(&j)] = rows[file][i]
		}
		check := func(what string, at int, part []frame) {
			parts++
			for _, j := range judge(part) {
				if j.TLS != nil && j.TLS.ClientAuth != verdict.AuthUnknown {
					claims++
				}
				r, known := truth[pairOf(&j)]
				if !known { // client and server may be exchanged if the capture starts mid-stream
					p := pairOf(&j)
					r = truth[pair{p.to, p.from}]
				}
				if contradicts(r, &j) {
					t.Errorf("%s, %s %d: truth %s %s, judged %s %v", file, what, at, r["client_auth"], r["outcome"], j.Verdict, j.Reasons)
				}
			}
		}

		left := *pairs
		for i := range frames {
			without := slices.Delete(slices.Clone(frames), i, i+1)
			check("without packet", i, without)
			check("at once, without packet", i, paced(without, 1000))
			check("slowly, without packet", i, paced(without, 600e6))
			for k := i; k < len(without) && left != 0 && (*pairs < 0 || bulk(frames[i]) || bulk(without[k])); k++ {
				left--
				check("without two packets, the later one", k+1, slices.Delete(slices.Clone(without), k, k+1))
			}
			check("before packet", i, frames[:i])
			check("from packet", i, frames[i:])
		}

		for _, fromServer := range []bool{false, true} {
			var part []frame
			for _, f := range frames {
				if header, _, ok := tcpPayload(f.data); ok && (binary.BigEndian.Uint16(f.data[header:]) == 8443) == fromServer {
					part = append(part, f)
				}
			}
			check("one direction", 0, part)
		}

		for _, n := range []int{66, 96, 128, 262, 600} {
			part := slices.Clone(frames)
			for i := range part {
				part[i].data = part[i].data[:min(n, len(part[i].data))]
			}
			check("snap length", n, part)
		}
	}

	t.Logf("%d parts, %d claims about client certificates", parts, claims)
	if claims < parts/2 {
		t.Errorf("only %d claims in %d parts: they prove nothing", claims, parts)
	}
}

// paced returns a copy of a capture in which the time between two packets is always step, in ns.
func paced(frames []frame, step int64) []frame {
	out := slices.Clone(frames)
	for i := range out {
		out[i].time = out[0].time + int64(i)*step
	}
	return out
}

// bulk reports whether a frame has TCP payload.
func bulk(f frame) bool {
	_, payload, ok := tcpPayload(f.data)
	return ok && len(f.data) > payload
}

// TestPortsUsedAgain checks that a connection is judged only by its own packets, even if an earlier, mutual
// connection used the same ports.
func TestPortsUsedAgain(t *testing.T) {
	files, _ := manifest(t)
	var mutual, oneWay []frame
	for _, file := range files {
		switch file {
		case "go/mutual.pcap.gz":
			mutual = load(t, capturePath(file))
		case "go/oneway.pcap.gz":
			oneWay = load(t, capturePath(file))
		}
	}
	if mutual == nil || oneWay == nil {
		t.Fatal("the captures of Go are missing")
	}
	header, _, _ := tcpPayload(mutual[0].data)
	port := binary.BigEndian.Uint16(mutual[0].data[header:])
	all := slices.Clone(mutual)
	for _, f := range oneWay {
		f.data = slices.Clone(f.data)
		header, _, ok := tcpPayload(f.data)
		if !ok {
			t.Fatal("not TCP")
		}
		if at := header; binary.BigEndian.Uint16(f.data[at:]) == 8443 {
			binary.BigEndian.PutUint16(f.data[at+2:], port)
		} else {
			binary.BigEndian.PutUint16(f.data[at:], port)
		}
		f.time = all[len(all)-1].time + 1e6
		all = append(all, f)
	}

	got := judge(all)
	if len(got) != 2 || got[0].Verdict != verdict.MTLS || got[1].Verdict != verdict.TLS || got[1].TLS.ClientAuth != verdict.AuthNotRequested {
		for _, j := range got {
			t.Errorf("%s %v", j.Verdict, j.Reasons)
		}
	}
}

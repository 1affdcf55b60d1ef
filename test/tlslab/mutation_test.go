package tlslab_test

import (
	"encoding/binary"
	"flag"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

var mutations = flag.Int("mutations", 1000, "number of damaged captures that TestMutations judges")

// damage returns a copy of a capture in which a few segments are changed: bits are flipped, or a segment is dropped,
// repeated, moved or truncated. The frames of the original stay unchanged.
func damage(frames []frame, r *rand.Rand) []frame {
	out := slices.Clone(frames)
	for range 1 + r.IntN(3) {
		if len(out) == 0 {
			return out
		}
		i := r.IntN(len(out))
		switch r.IntN(6) {
		case 0, 1:
			out[i].data = flip(out[i].data, r)
		case 2:
			out = slices.Delete(out, i, i+1)
		case 3: // repeat it later, possibly with other bytes
			again := out[i]
			if r.IntN(2) == 0 {
				again.data = flip(again.data, r)
			}
			out = slices.Insert(out, i+r.IntN(len(out)-i+1), again)
		case 4: // move it
			moved := out[i]
			out = slices.Delete(out, i, i+1)
			out = slices.Insert(out, r.IntN(len(out)+1), moved)
		case 5: // truncate it, as a short snap length does
			out[i].data = out[i].data[:r.IntN(len(out[i].data)+1)]
		}
	}

	// The times in a capture must not decrease.
	last := int64(0)
	for i := range out {
		out[i].time = max(out[i].time, last)
		last = out[i].time
	}
	return out
}

// flip returns a copy with one to three bits inverted, usually in the payload, otherwise in the TCP header.
func flip(data []byte, r *rand.Rand) []byte {
	out := slices.Clone(data)
	header, payload, ok := tcpPayload(out)
	if !ok {
		return out
	}

	end := min(len(out), 14+int(binary.BigEndian.Uint16(out[16:])))
	from, to := payload, end
	if r.IntN(8) == 0 || payload >= end {
		from, to = header, payload
	}
	if from >= to {
		return out
	}
	at := from + r.IntN(to-from)
	if r.IntN(2) == 0 { // usually near the start, where the lengths are
		at = from + r.IntN(min(to-from, 16))
	}
	for range 1 + r.IntN(3) {
		out[at] ^= 1 << r.IntN(8)
		at = min(at+r.IntN(2), to-1)
	}
	return out
}

type pair struct{ from, to netip.AddrPort }

func pairOf(j *verdict.Judged) pair {
	return pair{netip.AddrPortFrom(j.Source.Addr, j.Source.Port), netip.AddrPortFrom(j.Destination.Addr, j.Destination.Port)}
}

// TestMutations checks that no damage to a capture makes the tap panic. The tap must also not judge a connection as
// mutual that it does not judge as mutual in the whole capture. There is one exception: the damage may remove the tap's
// reason to abstain. The connection must then truly be mutual.
func TestMutations(t *testing.T) {
	files, rows := manifest(t)
	type known struct {
		frames []frame
		mutual map[pair]bool // whether the whole connection is judged as mutual
		doubt  map[pair]bool // connections that are mutual but were not judged as mutual
	}
	captures := make([]known, len(files))
	for i, file := range files {
		k := known{frames: load(t, capturePath(file)), mutual: map[pair]bool{}, doubt: map[pair]bool{}}
		for n, j := range judge(k.frames) {
			k.mutual[pairOf(&j)] = j.Verdict == verdict.MTLS
			if r := rows[file][n]; r["client_auth"] == verdict.AuthPresented && r["outcome"] == "established" && j.Verdict != verdict.MTLS {
				k.doubt[pairOf(&j)] = true
			}
		}
		captures[i] = k
	}

	cleared, still := 0, 0
	for seed := range *mutations {
		i := seed % len(files)
		damaged := damage(captures[i].frames, rand.New(rand.NewPCG(uint64(seed), 6)))
		for _, j := range judge(damaged) {
			p := pairOf(&j)
			if _, known := captures[i].mutual[p]; !known { // if the SYN is missing, client and server may be exchanged
				p = pair{p.to, p.from}
			}
			switch {
			case j.Verdict != verdict.MTLS:
			case captures[i].mutual[p]:
				still++
			case captures[i].doubt[p]:
				cleared++
				t.Logf("%s, seed %d: damage removed a doubt: %v", files[i], seed, j.Reasons)
			default:
				t.Errorf("%s, seed %d: %v is called mutual: %s/%s %v", files[i], seed, p, j.TLS.ClientAuth, j.TLS.ClientAuthBasis, j.Reasons)
			}
		}
		if j := slices.IndexFunc(judge(damaged), func(j verdict.Judged) bool { return slices.Contains(j.Reasons, "dissector_failed") }); j >= 0 {
			t.Errorf("%s, seed %d: the dissector failed", files[i], seed)
		}
	}
	t.Logf("%d damaged captures: %d connections mutual as before, %d more because damage removed a doubt", *mutations, still, cleared)
	if still < *mutations/20 {
		t.Errorf("only %d connections were still judged mutual: the damage proves nothing", still)
	}
}

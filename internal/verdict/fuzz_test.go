package verdict_test

import (
	"strings"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/dissect"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// FuzzFlights plays records of any size, in any order of both ends, with any acknowledgements. The judge must not
// panic, and must not make certain claims.
func FuzzFlights(f *testing.F) {
	// each three bytes describe a packet: the first its sender and kind, the others its size
	for _, seed := range []string{
		"\x01\x00\x1b\x01\x02\x07\x01\x00\x61\x01\x00\x35\x00\x00\x35\x00\x00\x78\x01\x00\xc8", // Go, one-way
		"\x01\x02\xd0\x00\x02\x78\x00\x00\x78\x01\x05\x9d",                                     // Envoy, mutual
		"\x01\x02\xd0\x00\x02\x78\x01\x00\x13\x05\x00\x00",                                     // the same, refused
		"\x01\x02\xd0\x01\x01\x00\x00\x02\x78\x03\x01\x00\x01\x01\x00",                         // with 0.5-RTT data
		"\x11\x00\x17\x11\x00\x35\x10\x00\x15\x10\x00\x35\x11\x02\xf0",                         // early data, accepted
	} {
		for options := range byte(8) {
			f.Add(options, seed)
		}
	}
	f.Fuzz(func(t *testing.T, options byte, packets string) {
		client, server := hello{extensions: map[uint16]string{}}, hello{extensions: map[uint16]string{}}
		if options&1 != 0 {
			client.extensions[extPSK] = psk(700, 77)
		}
		if options&2 != 0 {
			client.extensions[extEarly] = ""
		}
		if options&3 == 3 && options&4 != 0 {
			server.extensions[extPSK] = "\x00\x00"
		}
		if options&8 != 0 {
			client.extensions[extLater] = ""
		}
		w := newPlayer(t, client, server)
		j := verdict.New(verdict.Config{})
		first, answered := 0, false
		for len(packets) >= 3 && len(packets) < 300 {
			what, n := packets[0], int(packets[1])<<8|int(packets[2])
			packets = packets[3:]
			side := int(what & 1)
			switch {
			case what&4 != 0:
				w.s.Closed(dissect.Side(side), what&8 != 0)
			case n > 1<<14:
				w.at[side] += int64(n & 255)
				w.s.Data(dissect.Side(side), w.at[side], nil, -1, int64(n&255))
			default:
				ack := int64(-1)
				if what&2 != 0 {
					ack = w.before[1-side]
				}
				w.send(side, record(23, strings.Repeat("\xa7", n)), ack)
				answered = answered || side == 1 && first != 0
				if side == 0 && first == 0 {
					first = n
				}
			}
			if got := w.judge(j, 1, false); got.Verdict == verdict.MTLS && !answered {
				t.Fatalf("mutual before the server has answered: %s", said(got))
			}
		}
		got := w.judge(j, 1, true)
		if got.Verdict == verdict.MTLS && (first == 53 || first == 61 || first == 25) && options&2 == 0 {
			t.Fatalf("mutual, and the client began with %d: %s", first, said(got))
		}
		if got.TLS != nil && got.TLS.ClientAuthBasis == verdict.BasisObserved {
			t.Fatalf("observed: %s", said(got))
		}
	})
}

package ownsockets

import (
	"net/netip"
	"testing"
	"time"
)

// TestOwns: on each interface a port belongs to one connection at a time. After the program's connection was reset or
// closed, another program may open a connection from its port. That connection is not the program's.
func TestOwns(t *testing.T) {
	broker, other := netip.MustParseAddrPort("10.1.0.9:9092"), netip.MustParseAddrPort("10.1.0.8:80")
	begin := time.Unix(1000, 0)
	at := func(ms int) time.Time { return begin.Add(time.Duration(ms) * time.Millisecond) }
	own := Captured{Port: 5, Peer: broker, Interface: "eth0", At: at(1), HasSYN: true}
	for _, test := range []struct {
		name  string
		until time.Time // end of the ownership
		seen  []Captured
		ask   Captured
		want  bool
	}{
		{"the first", time.Time{}, nil, own, true},
		{"the same again", time.Time{}, []Captured{own}, own, true},
		{"the same on another interface", time.Time{}, []Captured{own}, Captured{5, broker, "net1", at(1), true}, true},
		{"the same, evicted and seen again", time.Time{}, []Captured{own}, Captured{5, broker, "eth0", at(900), false}, true},
		{"first seen in its middle", time.Time{}, nil, Captured{5, broker, "eth0", at(900), false}, true},
		{"another port", time.Time{}, nil, Captured{6, broker, "eth0", at(1), true}, false},
		{"before the port was taken", time.Time{}, nil, Captured{5, broker, "eth0", at(-1), true}, false},
		{"a second SYN to the same peer", time.Time{}, []Captured{own}, Captured{5, broker, "eth0", at(900), true}, false},
		{"a SYN to another peer", time.Time{}, []Captured{own}, Captured{5, other, "eth0", at(900), true}, false},
		{"another peer, in its middle", time.Time{}, []Captured{own}, Captured{5, other, "eth0", at(900), false}, false},
		{"the last segments", at(500), []Captured{own}, Captured{5, broker, "eth0", at(900), false}, true},
		{"a SYN after the close", at(500), nil, Captured{5, other, "eth0", at(900), true}, false},
		{"read late", at(500), nil, own, true},
		{"long after the close", at(500), []Captured{own}, Captured{5, broker, "eth0", at(9000), false}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := Sockets{ports: map[uint16]ownership{5: {from: begin, until: test.until, to: broker}}}
			for _, c := range test.seen {
				if !s.Owns(c) {
					t.Fatalf("%+v is not owned", c)
				}
			}
			if got := s.Owns(test.ask); got != test.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

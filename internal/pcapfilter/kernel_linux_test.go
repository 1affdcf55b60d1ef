package pcapfilter

import (
	"errors"
	"math/rand/v2"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// kernel runs programs in the kernel: on a pair of sockets that no network is behind, what
// is sent on one passes the other's filter. It takes no privilege.
type kernel struct{ from, to int }

func newKernel(t *testing.T) kernel {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		unavailable(t, "a pair of sockets: %v", err)
	}
	t.Cleanup(func() {
		unix.Close(pair[0])
		unix.Close(pair[1])
	})
	return kernel{pair[0], pair[1]}
}

// attach gives a program to the kernel, in place of the one before.
func (k kernel) attach(p Program) error {
	filters := make([]unix.SockFilter, len(p))
	for i, in := range p {
		filters[i] = unix.SockFilter{Code: in.Op, Jt: in.Jt, Jf: in.Jf, K: in.K}
	}
	err := unix.SetsockoptSockFprog(k.to, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(filters)), Filter: &filters[0]})
	runtime.KeepAlive(filters)
	return err
}

// run returns how many bytes of a packet the kernel keeps. The packet is not empty.
func (k kernel) run(t *testing.T, packet []byte) int {
	t.Helper()
	if err := unix.Sendto(k.from, packet, 0, nil); err != nil {
		t.Fatal(err)
	}
	n, _, err := unix.Recvfrom(k.to, make([]byte, len(packet)+1), 0)
	if errors.Is(err, unix.EAGAIN) {
		return 0
	}
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestKernel runs generated expressions in the kernel: it has to take every program, live
// ones too, and answer as Run does.
func TestKernel(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 0))
	k := newKernel(t)
	for i := range 300 {
		link := linkOrder[i%len(linkOrder)]
		text := randomExpression(r, link)
		for _, live := range []bool{true, false} {
			p, err := Compile(text, Config{Link: link, Live: live, Snap: 40})
			if err != nil {
				t.Fatalf("%s, %q: %v", link.Name(), text, err)
			}
			if err := k.attach(p); err != nil {
				t.Fatalf("%s, %q, live %t: the kernel refuses it: %v\n%s", link.Name(), text, live, err, p.Listing())
			}
			for _, packet := range random(r, link, 25) {
				if len(packet.Data) == 0 || live && hasAncillary(p) {
					continue
				}
				packet.Length = len(packet.Data)
				want := min(int(p.Run(&packet)), packet.Length)
				if got := k.run(t, packet.Data); got != want {
					t.Fatalf("%s, %q: the kernel keeps %d bytes, Run %d, of % x\n%s", link.Name(), text, got, want, packet.Data, p.Listing())
				}
			}
		}
	}
}

// TestKernelDefault runs the default filter in the kernel over long packets.
func TestKernelDefault(t *testing.T) {
	r := rand.New(rand.NewPCG(13, 0))
	k := newKernel(t)
	for _, link := range []Link{LinkEthernet, LinkRaw} {
		p := Default(Config{Link: link, Live: true})
		if err := k.attach(p); err != nil {
			t.Fatalf("the kernel refuses it: %v\n%s", err, p.Listing())
		}
		cut := 0
		for range 400 {
			s := segment{ip6: r.IntN(2) == 0, tagged: r.IntN(4) == 0 && link == LinkEthernet, proto: pick(r, []byte{protoTCP, protoTCP, protoTCP, protoUDP, 50}), options: r.IntN(11)}
			for len(s.payload) < pick(r, []int{1000, 3000, 20000, 50000, 64000}) {
				s.payload = append(s.payload, record(pick(r, []byte{23, 23, 23, 23, 22, 21, 99}), pick(r, []int{0, 53, 1000, 16401}))...)
			}
			frame := s.frame()
			if link == LinkRaw {
				frame = frame[14:]
			}
			packet := Packet{Data: frame, Length: len(frame)}
			want := min(int(p.Run(&packet)), len(frame))
			if got := k.run(t, frame); got != want {
				t.Fatalf("%s: the kernel keeps %d bytes of %d, Run %d: % x", link.Name(), got, len(frame), want, frame[:100])
			}
			if want < len(frame) {
				cut++
			}
		}
		if cut < 50 {
			t.Errorf("%s: %d packets were cut: too few to say anything", link.Name(), cut)
		}
	}
}

// hasAncillary tells whether a program asks for what a pair of sockets does not have.
func hasAncillary(p Program) bool {
	for _, in := range p {
		if in.Op&0xe7 == classLD|modeABS && in.K >= ancillary {
			return true
		}
	}
	return false
}

// TestKernelValidates gives programs with a fault to the kernel: it has to refuse what
// Validate refuses, to take what that takes, and to run it as Run does.
func TestKernelValidates(t *testing.T) {
	k := newKernel(t)
	r := rand.New(rand.NewPCG(6, 0))
	refused, taken := 0, 0
	for range 3000 {
		p := randomProgram(r)
		ours, theirs := p.Validate(), k.attach(p)
		if (ours == nil) != (theirs == nil) {
			t.Fatalf("Validate says %v, the kernel %v, of\n%s", ours, theirs, p.Decimal())
		}
		if ours != nil {
			refused++
			continue
		}
		taken++
		if hasAncillary(p) || differs(p) {
			continue
		}
		for _, packet := range random(r, LinkEthernet, 4) {
			if packet.Length = len(packet.Data); packet.Length == 0 {
				continue
			}
			if got, want := k.run(t, packet.Data), int(min(p.Run(&packet), uint32(packet.Length))); got != want {
				t.Fatalf("the kernel keeps %d bytes, Run %d, of % x\n%s", got, want, packet.Data, p.Listing())
			}
		}
	}
	if taken < 300 || refused < 300 {
		t.Errorf("%d taken, %d refused: too few for a proof", taken, refused)
	}
}

// differs tells whether a program does what the kernel does otherwise: it takes a
// negative offset for one from the network header, and a shift by 32 and more modulo 32.
func differs(p Program) bool {
	for _, in := range p {
		if in.Op&0xe7 == classLD|modeIND || in.Op == classALU|aluLSH|sourceX || in.Op == classALU|aluRSH|sourceX {
			return true
		}
	}
	return false
}

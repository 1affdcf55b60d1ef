package pcapfilter

import (
	"math/rand/v2"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/pcapfilter/kerneltest"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// TestKernel compiles generated expressions, with and without Config.Live, and attaches the
// programs in the kernel. The kernel must accept every program, and its results must be those of
// Run.
func TestKernel(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 0))
	k := kerneltest.New(t)
	for i := range 300 {
		link := linkOrder[i%len(linkOrder)]
		text := randomExpression(r, link)
		for _, live := range []bool{true, false} {
			p, err := Compile(text, Config{Link: link, Live: live, Snap: 40})
			if err != nil {
				t.Fatalf("%s, %q: %v", LinkName(link), text, err)
			}
			if err := k.Attach(p); err != nil {
				t.Fatalf("%s, %q, live %t: the kernel refuses it: %v\n%s", LinkName(link), text, live, err, p.Listing())
			}
			for _, packet := range random(r, link, 25) {
				if len(packet.Data) == 0 || live && hasAncillary(p) {
					continue
				}
				packet.Length = len(packet.Data)
				want := min(int(p.Run(&packet)), packet.Length)
				if got := k.Run(packet.Data); got != want {
					t.Fatalf("%s, %q: the kernel keeps %d bytes, Run %d, of % x\n%s", LinkName(link), text, got, want, packet.Data, p.Listing())
				}
			}
		}
	}
}

// hasAncillary reports whether a program has ancillary loads, which need a network device.
func hasAncillary(p Program) bool {
	for _, in := range p {
		if in.Op&0xe7 == classLD|modeABS && in.K >= ancillary {
			return true
		}
	}
	return false
}

// TestKernelValidates attaches damaged programs in the kernel. The kernel must refuse the programs
// that Validate refuses and accept the others, and its results must be those of Run.
func TestKernelValidates(t *testing.T) {
	k := kerneltest.New(t)
	r := rand.New(rand.NewPCG(6, 0))
	refused, taken := 0, 0
	for range 3000 {
		p := randomProgram(r)
		ours, theirs := p.Validate(), k.Attach(p)
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
		for _, packet := range random(r, wire.LinkEthernet, 4) {
			if packet.Length = len(packet.Data); packet.Length == 0 {
				continue
			}
			if got, want := k.Run(packet.Data), int(min(p.Run(&packet), uint32(packet.Length))); got != want {
				t.Fatalf("the kernel keeps %d bytes, Run %d, of % x\n%s", got, want, packet.Data, p.Listing())
			}
		}
	}
	if taken < 300 || refused < 300 {
		t.Errorf("%d taken, %d refused: too few for a proof", taken, refused)
	}
}

// differs reports whether a program uses instructions that the kernel executes differently from
// Run. In the kernel a negative offset is relative to the network header, and a shift by 32 or
// more is modulo 32.
func differs(p Program) bool {
	for _, in := range p {
		if in.Op&0xe7 == classLD|modeIND || in.Op == classALU|aluLSH|sourceX || in.Op == classALU|aluRSH|sourceX {
			return true
		}
	}
	return false
}

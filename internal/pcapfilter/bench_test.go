package pcapfilter

import (
	"math/rand/v2"
	"testing"

	"golang.org/x/net/bpf"

	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// benchmarked are typical filters.
var benchmarked = map[string]string{
	"port":  "tcp port 443 or 8443",
	"host":  "host 10.0.0.1 and not port 53",
	"bytes": "tcp[tcpflags] & (tcp-syn|tcp-fin) != 0",
}

// BenchmarkRun measures the cost of a filter for each packet of a capture.
func BenchmarkRun(b *testing.B) {
	packets := random(rand.New(rand.NewPCG(1, 0)), wire.LinkEthernet, 1024)
	for name, text := range benchmarked {
		p, err := Compile(text, Config{Link: wire.LinkEthernet})
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for i := range b.N {
				p.Run(&packets[i%len(packets)])
			}
		})
	}
}

// BenchmarkNetBPF measures the same programs as BenchmarkRun in the VM of golang.org/x/net/bpf.
func BenchmarkNetBPF(b *testing.B) {
	packets := random(rand.New(rand.NewPCG(1, 0)), wire.LinkEthernet, 1024)
	for name, text := range benchmarked {
		p, err := Compile(text, Config{Link: wire.LinkEthernet})
		if err != nil {
			b.Fatal(err)
		}
		instructions, _ := bpf.Disassemble(p)
		vm, err := bpf.NewVM(instructions)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for i := range b.N {
				if _, err := vm.Run(packets[i%len(packets)].Data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkCompile measures the compilation of an expression.
func BenchmarkCompile(b *testing.B) {
	for name, text := range benchmarked {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for range b.N {
				if _, err := Compile(text, Config{Link: wire.LinkEthernet}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

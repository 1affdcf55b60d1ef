package pcapfilter

import (
	"math/rand/v2"
	"testing"

	"golang.org/x/net/bpf"

	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// benchmarked are filters as people write them.
var benchmarked = map[string]string{
	"port":  "tcp port 443 or 8443",
	"host":  "host 10.0.0.1 and not port 53",
	"bytes": "tcp[tcpflags] & (tcp-syn|tcp-fin) != 0",
}

// BenchmarkRun is what a filter costs for each packet of a capture.
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

// BenchmarkNetBPF is the same by golang.org/x/net/bpf's machine.
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

// BenchmarkCompile is what it costs to make a program.
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

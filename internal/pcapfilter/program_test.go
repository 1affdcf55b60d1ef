package pcapfilter

import (
	"math/rand/v2"
	"strings"
	"testing"

	"golang.org/x/net/bpf"

	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// randomProgram returns instructions that are mostly valid.
func randomProgram(r *rand.Rand) Program {
	var codes []uint16
	for op := range uint16(256) {
		if known[op] {
			codes = append(codes, op)
		}
	}
	p := make(Program, 0, 12)
	for range 1 + r.IntN(10) {
		in := bpf.RawInstruction{Op: pick(r, codes), K: uint32(r.IntN(20)), Jt: uint8(r.IntN(4)), Jf: uint8(r.IntN(4))}
		switch r.IntN(60) {
		case 0:
			in.Op = uint16(r.IntN(300))
		case 1:
			in.K = pick(r, []uint32{31, 32, ancillaryVLAN, ancillary + 2, ancillary + 60, ancillaryEnd, ^uint32(0), 1 << 31})
		}
		if in.Op&7 != classJMP || in.Op == classJMP|jmpJA {
			in.Jt, in.Jf = 0, 0
		}
		if r.IntN(3) > 0 && (in.Op == classLD|modeMEM || in.Op == classLDX|modeMEM) {
			continue // leaves out most reads of scratch memory, which often make a program invalid
		}
		p = append(p, in)
	}
	return append(p, bpf.RawInstruction{Op: pick(r, []uint16{classRET | retK, classRET | retK, classRET | retA, classMISC | miscTAX}), K: uint32(r.IntN(2))})
}

// TestRunLikeNetBPF compares Run with the VM of golang.org/x/net/bpf.
func TestRunLikeNetBPF(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 0))
	compared := 0
	for range 4000 {
		p := randomProgram(r)
		if p.Validate() != nil || hasSpecial(p) {
			continue
		}
		instructions, ok := bpf.Disassemble(p)
		if !ok {
			continue // that VM lacks a few instructions that the kernel accepts
		}
		vm, err := bpf.NewVM(instructions)
		if err != nil {
			continue
		}
		for _, packet := range random(r, wire.LinkEthernet, 4) {
			packet.Length = len(packet.Data)
			want, err := vm.Run(packet.Data)
			if err != nil {
				t.Fatal(err)
			}
			if got := p.Run(&packet); int(got) != want {
				t.Fatalf("%d, want %d, of % x\n%s", got, want, packet.Data, p.Listing())
			}
			compared++
		}
	}
	if compared < 1000 {
		t.Errorf("%d comparisons only", compared)
	}
}

// hasSpecial reports whether a program has instructions that the other VM lacks or executes
// differently: ancillary loads, loads whose offsets wrap, a load of len to X, and negation.
func hasSpecial(p Program) bool {
	for _, in := range p {
		if in.Op&7 <= classLDX && in.Op&0xe0 != modeIMM && in.K > 1<<20 || in.Op&0xe7 == classLD|modeIND || in.Op == classALU|aluNEG || in.Op == classLDX|modeLEN {
			return true
		}
	}
	return false
}

// TestRunNeverFails: Run does not panic on any program. An empty program, and a jump past the
// end, accept no packet.
func TestRunNeverFails(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 0))
	packets := random(r, wire.LinkEthernet, 20)
	for range 5000 {
		p := randomProgram(r)
		for i := range p {
			if r.IntN(8) == 0 {
				p[i] = bpf.RawInstruction{Op: uint16(r.Uint32()), Jt: uint8(r.Uint32()), Jf: uint8(r.Uint32()), K: r.Uint32()}
			}
		}
		p.Run(&packets[r.IntN(len(packets))])
	}
	if n := (Program{}).Run(&packets[0]); n != 0 {
		t.Errorf("an empty program takes %d bytes", n)
	}
	if n := (Program{{Op: classJMP | jmpJA, K: ^uint32(0)}}).Run(&packets[0]); n != 0 {
		t.Errorf("a jump to nowhere takes %d bytes", n)
	}
}

// TestLen: len is the length on the wire, however much of it was captured.
func TestLen(t *testing.T) {
	p, err := Compile("greater 1000", Config{Link: wire.LinkEthernet})
	if err != nil {
		t.Fatal(err)
	}
	if p.Run(&Packet{Data: make([]byte, 96), Length: 1500}) == 0 || p.Run(&Packet{Data: make([]byte, 96), Length: 96}) != 0 {
		t.Error("the captured bytes were counted")
	}
}

func TestValidate(t *testing.T) {
	ret := bpf.RawInstruction{Op: classRET | retK}
	for name, test := range map[string]struct {
		program Program
		want    string // a part of the error; empty: none
	}{
		"one":                   {Program{ret}, ""},
		"none":                  {nil, "0 instructions"},
		"too many":              {make(Program, MaxInstructions+1), "4097 instructions"},
		"unknown":               {Program{{Op: 0xff}, ret}, "instruction 0: code 0xff is not known"},
		"no return":             {Program{ret, {Op: classMISC | miscTAX}}, "instruction 1: the last one must return"},
		"jump to the end":       {Program{{Op: classJMP | jmpJA, K: 1}, ret}, "instruction 0: it jumps past the end"},
		"conditional jump":      {Program{{Op: classJMP | jmpJEQ, Jf: 1}, ret}, "instruction 0: it jumps past the end"},
		"division":              {Program{{Op: classALU | aluDIV}, ret}, "division by zero"},
		"remainder":             {Program{{Op: classALU | aluMOD}, ret}, "division by zero"},
		"division by X":         {Program{{Op: classALU | aluDIV | sourceX}, ret}, ""},
		"shift":                 {Program{{Op: classALU | aluLSH, K: 32}, ret}, "a shift by 32 bits"},
		"memory":                {Program{{Op: classST, K: 16}, ret}, "there is no memory word 16"},
		"memory not written":    {Program{{Op: classLD | modeMEM, K: 3}, ret}, "memory word 3 is read before it is written"},
		"written on one branch": {Program{{Op: classJMP | jmpJEQ, Jf: 1}, {Op: classST, K: 3}, {Op: classLD | modeMEM, K: 3}, ret}, "instruction 2: memory word 3"},
		"written on both":       {Program{{Op: classST, K: 3}, {Op: classJMP | jmpJEQ, Jf: 1}, {Op: classMISC | miscTAX}, {Op: classLD | modeMEM, K: 3}, ret}, ""},
		"ancillary":             {Program{{Op: classLD | modeABS, K: ancillaryVLAN}, ret}, ""},
		"no such ancillary":     {Program{{Op: classLD | modeABS, K: ancillaryEnd}, ret}, "there is no ancillary load"},
	} {
		t.Run(name, func(t *testing.T) {
			err := test.program.Validate()
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}

// TestAnd: a packet must be accepted by both programs. The result is the result of the second
// program.
func TestAnd(t *testing.T) {
	compile := func(text string, snap uint32) Program {
		p, err := Compile(text, Config{Link: wire.LinkEthernet, Snap: snap})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	byA := Program{{Op: classLD | modeABS | sizeB, K: 12}, {Op: classALU | aluAND, K: 8}, {Op: classRET | retA}}
	r := rand.New(rand.NewPCG(9, 0))
	packets := random(r, wire.LinkEthernet, 2000)
	for name, pair := range map[string][2]Program{
		"expressions":     {compile("tcp port 80 or arp", 96), compile("ip or arp", 64)},
		"all and nothing": {compile("", 96), compile("1 = 2", 64)},
		"the accumulator": {byA, compile("ip", 64)},
		"behind":          {compile("ip", 64), byA},
		"long ones":       {compile(strings.Repeat("port 80 or ", 30)+"udp", 96), compile("not udp", 64)},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := And(pair[0], pair[1])
			if err != nil {
				t.Fatal(err)
			}
			for i := range packets {
				want := pair[1].Run(&packets[i])
				if pair[0].Run(&packets[i]) == 0 {
					want = 0
				}
				if got := p.Run(&packets[i]); got != want {
					t.Fatalf("%d, want %d, of % x\n%s", got, want, packets[i].Data, p.Listing())
				}
			}
		})
	}
	if _, err := And(compile(strings.Repeat("port 80 or ", 150)+"udp", 96), compile(strings.Repeat("port 80 or ", 150)+"udp", 96)); err == nil {
		t.Error("a program that the kernel does not take")
	}
}

func TestIsProgram(t *testing.T) {
	for text, want := range map[string]bool{
		"1,6 0 0 0": true, "1\n6 0 0 0\n": true, " 1 , 6 0 0 0": true, "1": false, "": false, "tcp": false, "1 = 1": false, "80 or tcp": false, ",": false,
	} {
		if IsProgram(text) != want {
			t.Errorf("%q: %t", text, !want)
		}
	}
}

func TestParseProgram(t *testing.T) {
	want := Program{{Op: 40, K: 12}, {Op: 21, Jf: 1, K: 2048}, {Op: 6, K: 262144}, {Op: 6}}
	for _, text := range []string{"4\n40 0 0 12\n21 0 1 2048\n6 0 0 262144\n6 0 0 0\n", "4,40 0 0 12,21 0 1 2048,6 0 0 262144,6 0 0 0,", " 4 \r\n 40  0 0 12 \r\n21 0 1 2048\r\n\r\n6 0 0 262144,6 0 0 0"} {
		p, err := ParseProgram(text)
		if err != nil || p.Decimal() != want.Decimal() {
			t.Errorf("%q: %v, %v", text, p, err)
		}
	}
	for text, problem := range map[string]string{
		"":                        "no program",
		"tcp":                     `"tcp": expected the number of instructions`,
		"2,6 0 0 0":               "1 instructions, where 2 were announced",
		"1,6 0 0":                 `instruction 0, "6 0 0": expected four decimal numbers`,
		"1,6 0 0 -1":              "expected four decimal numbers",
		"1,6 256 0 0":             "expected four decimal numbers",
		"1,40 0 0 12":             "instruction 0: the last one must return",
		"1,64 0 0 0":              "the last one must return",
		strings.Repeat("1,", 1e6): "at most 4096 instructions",
	} {
		if _, err := ParseProgram(text); err == nil || !strings.Contains(err.Error(), problem) {
			t.Errorf("%.20q: %v, want %q", text, err, problem)
		}
	}
}

// TestDecimalRoundTrip: ParseProgram parses the output of Decimal.
func TestDecimalRoundTrip(t *testing.T) {
	r := rand.New(rand.NewPCG(10, 0))
	for range 50 {
		p, err := Compile(randomExpression(r, wire.LinkEthernet), Config{Link: wire.LinkEthernet, Live: true})
		if err != nil {
			t.Fatal(err)
		}
		if again, err := ParseProgram(p.Decimal()); err != nil || again.Fragment() != p.Fragment() {
			t.Errorf("%v\n%s\n%s", err, again.Fragment(), p.Fragment())
		}
	}
}

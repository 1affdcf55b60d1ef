package pcapfilter

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/net/bpf"
)

// Listing returns the program as `tcpdump -d` prints it: one instruction per line, for people.
func (p Program) Listing() string {
	var b strings.Builder
	for i, in := range p {
		op, operand := describe(in, i)
		if in.Op&7 == classJMP && in.Op != classJMP|jmpJA {
			fmt.Fprintf(&b, "(%03d) %-8s %-16s jt %d\tjf %d\n", i, op, operand, i+1+int(in.Jt), i+1+int(in.Jf))
		} else {
			fmt.Fprintf(&b, "(%03d) %-8s %s\n", i, op, operand)
		}
	}
	return b.String()
}

// Fragment returns the program as `tcpdump -dd` prints it: a fragment of C.
func (p Program) Fragment() string {
	var b strings.Builder
	for _, in := range p {
		fmt.Fprintf(&b, "{ 0x%x, %d, %d, 0x%08x },\n", in.Op, in.Jt, in.Jf, in.K)
	}
	return b.String()
}

// Decimal returns the program as `tcpdump -ddd` prints it, in decimal numbers. The first one is
// the number of instructions.
func (p Program) Decimal() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d\n", len(p))
	for _, in := range p {
		fmt.Fprintf(&b, "%d %d %d %d\n", in.Op, in.Jt, in.Jf, in.K)
	}
	return b.String()
}

// Names of the operations of ALU, jump and load instructions.
var (
	aluNames = map[uint16]string{aluADD: "add", aluSUB: "sub", aluMUL: "mul", aluDIV: "div", aluOR: "or", aluAND: "and",
		aluLSH: "lsh", aluRSH: "rsh", aluNEG: "neg", aluMOD: "mod", aluXOR: "xor"}
	jumpNames = map[uint16]string{jmpJEQ: "jeq", jmpJGT: "jgt", jmpJGE: "jge", jmpJSET: "jset"}
	loadNames = map[uint16]string{sizeW: "ld", sizeH: "ldh", sizeB: "ldb"}
)

// ancillaryNames are the names of ancillary loads, from SKF_AD_PROTOCOL on.
var ancillaryNames = []string{"proto", "type", "ifidx", "nla", "nlan", "mark", "queue", "hatype", "rxhash", "cpu", "", "vlan_tci", "vlanp", "poff", "rnd", "vlan_tpid"}

// describe returns the name of an instruction and its operand. i is its index in the program.
func describe(in bpf.RawInstruction, i int) (op, operand string) {
	if !known[in.Op] {
		return "unimp", fmt.Sprintf("%#x", in.Op)
	}
	switch in.Op & 7 {
	case classLD:
		return describeLoad(in)
	case classLDX:
		switch in.Op & 0xe0 {
		case modeMSH:
			return "ldxb", fmt.Sprintf("4*([%d]&0xf)", int32(in.K))
		case modeLEN:
			return "ldx", "#pktlen"
		case modeMEM:
			return "ldx", fmt.Sprintf("M[%d]", in.K)
		}
		return "ldx", fmt.Sprintf("#%#x", in.K)
	case classST:
		return "st", fmt.Sprintf("M[%d]", in.K)
	case classSTX:
		return "stx", fmt.Sprintf("M[%d]", in.K)
	case classALU:
		return aluNames[in.Op&0xf0], describeALU(in)
	case classJMP:
		switch {
		case in.Op == classJMP|jmpJA:
			return "ja", strconv.Itoa(i + 1 + int(int32(in.K)))
		case in.Op&sourceX != 0:
			return jumpNames[in.Op&0xf0], "x"
		}
		return jumpNames[in.Op&0xf0], fmt.Sprintf("#0x%x", in.K)
	case classRET:
		if in.Op&0x18 == retK {
			return "ret", fmt.Sprintf("#%d", int32(in.K))
		}
		return "ret", ""
	}
	if in.Op == classMISC|miscTAX {
		return "tax", ""
	}
	return "txa", ""
}

func describeLoad(in bpf.RawInstruction) (op, operand string) {
	op = loadNames[in.Op&0x18]
	switch in.Op & 0xe0 {
	case modeIMM:
		return op, fmt.Sprintf("#0x%x", in.K)
	case modeMEM:
		return op, fmt.Sprintf("M[%d]", in.K)
	case modeLEN:
		return op, "#pktlen"
	case modeIND:
		return op, fmt.Sprintf("[x + %d]", int32(in.K))
	}
	if n := (in.K - ancillary) / 4; in.K >= ancillary && in.K%4 == 0 && n < uint32(len(ancillaryNames)) && ancillaryNames[n] != "" {
		return op, "[" + ancillaryNames[n] + "]"
	}
	return op, fmt.Sprintf("[%d]", int32(in.K))
}

func describeALU(in bpf.RawInstruction) string {
	switch {
	case in.Op == classALU|aluNEG:
		return ""
	case in.Op&sourceX != 0:
		return "x"
	}
	switch in.Op & 0xf0 {
	case aluAND, aluOR, aluXOR:
		return fmt.Sprintf("#0x%x", in.K)
	}
	return fmt.Sprintf("#%d", int32(in.K))
}

// IsProgram reports whether a text is a compiled program rather than an expression: it begins
// with a number followed by a comma or the end of the line.
func IsProgram(text string) bool {
	text = strings.TrimLeft(text, " \t\r\n")
	digits := run(text, isDigit)
	rest := strings.TrimLeft(text[len(digits):], " \t\r")
	return digits != "" && rest != "" && (rest[0] == ',' || rest[0] == '\n')
}

// ParseProgram parses the output of Decimal. Lines may also be separated by commas, as in
// programs for iptables. It returns an error if the kernel would refuse the program.
func ParseProgram(text string) (Program, error) {
	p, err := parseProgram(text)
	if err == nil {
		err = p.Validate()
	}
	if err != nil {
		return nil, err
	}
	return p, nil
}

// parseProgram parses a program without validating it.
func parseProgram(text string) (Program, error) {
	const mostDigits = 4 * 11
	if len(text) > (MaxInstructions+1)*mostDigits {
		return nil, fmt.Errorf("a program of %d bytes: expected at most %d instructions", len(text), MaxInstructions)
	}
	lines := strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == '\n' })
	lines = trimmed(lines)
	if len(lines) == 0 {
		return nil, errors.New("no program: expected the number of its instructions")
	}

	n, err := strconv.ParseUint(lines[0], 10, 16)
	if err != nil {
		return nil, fmt.Errorf("%q: expected the number of instructions", lines[0])
	}
	if int(n) != len(lines)-1 {
		return nil, fmt.Errorf("%d instructions, where %d were announced", len(lines)-1, n)
	}

	p := make(Program, 0, n)
	for i, line := range lines[1:] {
		in, ok := parseInstruction(line)
		if !ok {
			return nil, fmt.Errorf("instruction %d, %q: expected four decimal numbers, as tcpdump -ddd prints them", i, line)
		}
		p = append(p, in)
	}
	return p, nil
}

// trimmed returns the lines that are not empty, without the spaces around them.
func trimmed(lines []string) []string {
	var out []string
	for _, line := range lines {
		if line = strings.TrimSpace(line); line != "" {
			out = append(out, line)
		}
	}
	return out
}

// parseInstruction parses an opcode, two jump offsets and a constant.
func parseInstruction(line string) (in bpf.RawInstruction, ok bool) {
	fields := strings.Fields(line)
	if len(fields) != 4 {
		return in, false
	}
	var v [4]uint64
	for i, bits := range [4]int{16, 8, 8, 32} {
		n, err := strconv.ParseUint(fields[i], 10, bits)
		if err != nil {
			return in, false
		}
		v[i] = n
	}
	return bpf.RawInstruction{Op: uint16(v[0]), Jt: uint8(v[1]), Jf: uint8(v[2]), K: uint32(v[3])}, true
}

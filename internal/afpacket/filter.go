package afpacket

import (
	"fmt"
	"slices"

	"golang.org/x/net/bpf"
)

// maxInstructions is BPF_MAXINSNS of linux/bpf_common.h.
const maxInstructions = 4096

// bounded returns a filter whose result is at most snap bytes. It is needed because a packet socket
// has no other way to truncate packets. A snap of 0 bounds nothing. The given program is not
// changed.
func bounded(filter []bpf.RawInstruction, snap int) ([]bpf.RawInstruction, error) {
	if len(filter) == 0 {
		if snap == 0 {
			return nil, nil
		}
		return bpf.Assemble([]bpf.Instruction{bpf.RetConstant{Val: uint32(snap)}})
	}
	out := slices.Clone(filter)
	if snap > 0 {
		out = limitSnapLength(out, uint32(snap))
	}
	if len(out) > maxInstructions {
		return nil, fmt.Errorf("a filter of %d instructions: the kernel accepts at most %d", len(out), maxInstructions)
	}
	return out, nil
}

// Opcodes of linux/bpf_common.h.
const (
	opReturn  = 0x06 // BPF_RET|BPF_K
	opReturnA = 0x16 // BPF_RET|BPF_A
	opJump    = 0x05 // BPF_JMP|BPF_JA
	opGreater = 0x25 // BPF_JMP|BPF_JGT|BPF_K
)

// limitSnapLength changes the program in place so that its result is at most snap. It lowers
// returned constants. An instruction that returns the accumulator becomes a jump to code at the
// end, which returns the lesser of the accumulator and snap.
func limitSnapLength(p []bpf.RawInstruction, snap uint32) []bpf.RawInstruction {
	end := len(p)
	var jumps bool
	for i := range p {
		switch p[i].Op {
		case opReturn:
			p[i].K = min(p[i].K, snap)
		case opReturnA:
			p[i] = bpf.RawInstruction{Op: opJump, K: uint32(end - i - 1)}
			jumps = true
		}
	}
	if !jumps {
		return p
	}
	return append(p,
		bpf.RawInstruction{Op: opGreater, Jt: 1, K: snap},
		bpf.RawInstruction{Op: opReturnA},
		bpf.RawInstruction{Op: opReturn, K: snap})
}

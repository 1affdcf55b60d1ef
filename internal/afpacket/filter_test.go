package afpacket

import (
	"reflect"
	"slices"
	"testing"

	"golang.org/x/net/bpf"
)

// TestBounded compares the filter with the bounded one: both accept the same packets, and the
// bounded one captures at most the snap length.
func TestBounded(t *testing.T) {
	programs := map[string][]bpf.Instruction{
		"constants": {
			bpf.LoadAbsolute{Off: 0, Size: 1},
			bpf.JumpIf{Cond: bpf.JumpGreaterThan, Val: 9, SkipFalse: 1},
			bpf.RetConstant{Val: 1 << 18},
			bpf.JumpIf{Cond: bpf.JumpGreaterThan, Val: 4, SkipFalse: 1},
			bpf.RetConstant{Val: 20},
			bpf.RetConstant{},
		},
		"accumulator": {
			bpf.LoadAbsolute{Off: 0, Size: 1},
			bpf.JumpIf{Cond: bpf.JumpGreaterThan, Val: 9, SkipFalse: 1},
			bpf.RetA{},
			bpf.LoadConstant{Val: 7},
			bpf.RetA{},
		},
	}
	for name, program := range programs {
		filter, err := bpf.Assemble(program)
		if err != nil {
			t.Fatal(err)
		}
		given := slices.Clone(filter)
		plain := machine(t, filter)
		for _, snap := range []int{0, 1, 7, 15, 64, 1 << 20} {
			out, err := bounded(filter, snap)
			if err != nil {
				t.Fatal(err)
			}
			limited := machine(t, out)
			for first := range 256 {
				packet := make([]byte, 300)
				packet[0] = byte(first)
				want, err1 := plain.Run(packet)
				got, err2 := limited.Run(packet)
				if snap > 0 {
					want = min(want, snap)
				}
				if err1 != nil || err2 != nil || got != want {
					t.Errorf("%s, snap %d, packet %d: %d bytes, want %d (%v, %v)", name, snap, first, got, want, err1, err2)
				}
			}
		}
		if !reflect.DeepEqual(filter, given) {
			t.Errorf("%s: the given program was changed", name)
		}
	}
}

func machine(t *testing.T, filter []bpf.RawInstruction) *bpf.VM {
	t.Helper()
	program, ok := bpf.Disassemble(filter)
	if !ok {
		t.Fatalf("not a program: %v", filter)
	}
	vm, err := bpf.NewVM(program)
	if err != nil {
		t.Fatal(err)
	}
	return vm
}

func TestBoundedWithoutFilter(t *testing.T) {
	if out, err := bounded(nil, 0); err != nil || out != nil {
		t.Errorf("%v, %v: want no filter at all", out, err)
	}
	out, err := bounded([]bpf.RawInstruction{}, 96)
	if want := []bpf.RawInstruction{{Op: opReturn, K: 96}}; err != nil || !reflect.DeepEqual(out, want) {
		t.Errorf("%v, %v: want %v", out, err, want)
	}
	if _, err := bounded(make([]bpf.RawInstruction, maxInstructions+1), 0); err == nil {
		t.Error("a filter that is too long was taken")
	}
}

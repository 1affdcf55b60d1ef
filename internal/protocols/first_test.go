package protocols

import "testing"

// TestASCII: the constant has each byte at its own place.
func TestASCII(t *testing.T) {
	if len(ascii) != 0x80 {
		t.Errorf("%d bytes", len(ascii))
	}
	for i := range len(ascii) {
		if int(ascii[i]) != i {
			t.Errorf("byte %#x is %#x", i, ascii[i])
		}
	}
}

//go:build linux

package main

import (
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestEncode(t *testing.T) {
	// The values that libcap's setcap writes. getfattr -e hex -n security.capability prints them.
	for name, test := range map[string]struct {
		capability int
		want       string
	}{
		"cap_net_raw+p": {unix.CAP_NET_RAW, "0000000200200000000000000000000000000000"},
		"cap_bpf+p":     {unix.CAP_BPF, "0000000200000000000000008000000000000000"},
	} {
		if got := hex.EncodeToString(encode(test.capability)); got != test.want {
			t.Errorf("%s: encoded as %s, want %s", name, got, test.want)
		}
	}
}

func TestKernelTakesIt(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tap")
	if err := os.WriteFile(file, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	want := encode(unix.CAP_NET_RAW)
	if err := unix.Setxattr(file, attribute, want, 0); errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOTSUP) {
		t.Skipf("set %s: %v: needs root and a file system with extended attributes", attribute, err)
	} else if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 64)
	n, err := unix.Getxattr(file, attribute, got)
	if err != nil {
		t.Fatal(err)
	}
	if string(got[:n]) != string(want) {
		t.Errorf("the kernel returned %x, want %x", got[:n], want)
	}
}

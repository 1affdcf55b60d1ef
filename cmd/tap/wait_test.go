package main

import (
	"bytes"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/eventually"
)

// socketList is /proc/net/packet on Linux 6.18. It has the rings of two taps and one socket that is not bound
// yet.
const socketList = `sk               RefCnt Type Proto  Iface R Rmem   User   Inode
0000000000000000 3      3    0003   2     1 0      65532  10542 
0000000000000000 3      3    0003   2     1 0      65532  10543 
0000000000000000 3      3    0003   1     1 0      65532  10544 
0000000000000000 3      3    0000   0     0 0      65532  10545 
0000000000000000 3      3    0003   1     0 0      65532  10545 
0000000000000000 3      2    0003   1     1 0      0      10546 
not a line of it
`

func TestPacketSockets(t *testing.T) {
	for uid, want := range map[int]map[int]int{65532: {2: 2, 1: 1}, 0: {1: 1}, 7: {}} {
		if got := packetSockets(strings.NewReader(socketList), uid); !maps.Equal(got, want) {
			t.Errorf("user %d: %v, want %v", uid, got, want)
		}
	}
}

// TestCapturing: a tap captures if it has all rings of all named interfaces that are up.
func TestCapturing(t *testing.T) {
	list := filepath.Join(t.TempDir(), "packet")
	if err := os.WriteFile(list, []byte(socketList+"0000000000000000 3      3    0003   1     1 0      65532  10547 \n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		interfaces string
		uid        int
		want       bool
	}{
		{"lo", 65532, true},
		{"lo,nosuch0", 65532, true}, // tap wait does not wait for a missing interface
		{"nosuch0", 7, true},
		{"lo", 0, false},
		{"lo", 7, false},
		{"all", 7, false},
	} {
		if got := capturing([]string{"TAP_INTERFACES=" + c.interfaces}, list, c.uid); got != c.want {
			t.Errorf("%s of user %d: %t", c.interfaces, c.uid, got)
		}
	}
	if capturing([]string{"TAP_INTERFACES=lo"}, list+"-none", 65532) {
		t.Error("capturing without a list of sockets")
	}
	if got := strings.Join(interfacesOf([]string{"TAP_INTERFACES= , "}), ","); got != "eth0,lo" {
		t.Errorf("without a name it waits for %s", got)
	}
}

// TestWaitNeverFails: tap wait ends by itself with exit status 0, with any arguments and any environment.
func TestWaitNeverFails(t *testing.T) {
	for _, args := range [][]string{{"wait"}, {"wait", "--help"}, {"wait", "--no-such-flag"}, {"wait", "for", "ever"}} {
		var stdout, stderr bytes.Buffer
		if status := command(t.Context(), args, []string{"TAP_INTERFACES=lo", "TAP_WINDOW=bad"}, streams{nil, &stdout, &stderr}); status != exitFine {
			t.Errorf("%v: status %d: %s", args, status, &stderr)
		}
	}
	// A tap of another process on this machine can end a wait, which is then repeated.
	eventually.True(t, "tap wait waits for a missing tap", func() bool {
		start := time.Now()
		command(t.Context(), []string{"wait"}, []string{"TAP_INTERFACES=lo"}, streams{nil, io.Discard, io.Discard})
		return time.Since(start) >= longestWait/2
	})
}

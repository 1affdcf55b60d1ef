package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/variables"
)

// longestWait is what `tap wait` holds a pod's next container for at most.
const longestWait = time.Second

// lookEvery is how often it looks.
const lookEvery = 5 * time.Millisecond

const waitHelp = `Usage: tap wait

Ends as soon as the tap of this container (tap run) captures on each of TAP_INTERFACES that
is up, and after a second at the latest. It is the postStart hook of a native sidecar: the
pod's next container starts when it has ended. Its exit status is always 0, since a hook
that fails ends its container.
`

// wait is the command `tap wait`. It fails in no case: whatever it cannot find out, or
// panics at, only ends it.
func wait(args, environ []string, std streams) {
	if len(args) > 0 {
		fmt.Fprint(std.out, waitHelp)
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() { _ = recover() }()
		waitFor(func() bool { return capturing(environ, "/proc/self/net/packet", os.Geteuid()) }, longestWait)
	}()
	select {
	case <-done:
	case <-time.After(longestWait): // a file of /proc that hangs
	}
}

// waitFor asks until the answer is yes or the time is up.
func waitFor(yes func() bool, most time.Duration) {
	for end := time.Now().Add(most); !yes() && time.Now().Before(end); {
		time.Sleep(lookEvery)
	}
}

// capturing reports whether a tap with this environment, of this user, has all its rings
// open on each of its interfaces that is up. An interface that is not there when the pod's
// containers start is not waited for, since the network of a pod is set up before. list is
// the system's list of packet sockets: that is how a tap looks from outside, since its
// process shows nothing of itself (it has a file capability).
func capturing(environ []string, list string, uid int) bool {
	all, err := net.Interfaces()
	if err != nil {
		return false
	}
	f, err := os.Open(list)
	if err != nil {
		return false
	}
	defer f.Close()
	rings := packetSockets(io.LimitReader(f, maxSocketList), uid)
	names := tapped(environ)
	for _, i := range all {
		wanted := slices.Contains(names, everyInterface) || slices.Contains(names, i.Name)
		if wanted && i.Flags&net.FlagUp != 0 && rings[i.Index] < len(pair{}) {
			return false
		}
	}
	return true
}

// tapped returns the interfaces that an environment names.
func tapped(environ []string) []string {
	const name = "TAP_INTERFACES"
	list, ok := variables.Of(environ)[name]
	if !ok || strings.Trim(list, ", ") == "" {
		list = variables.Defaults[environment]()[name]
	}
	return variables.List([]string{list})
}

// maxSocketList bounds what is read of the list, in bytes.
const maxSocketList = 1 << 20

// packetSockets counts the packet sockets of a user that receive, by the index of their
// interface: /proc/net/packet, as packet_seq_show of net/packet/af_packet.c writes it. A
// line has the columns sk, RefCnt, Type, Proto, Iface, R (running), Rmem, User, Inode.
func packetSockets(r io.Reader, uid int) map[int]int {
	rings := map[int]int{}
	for s := bufio.NewScanner(r); s.Scan(); {
		f := strings.Fields(s.Text())
		if len(f) != 9 || f[5] != "1" || f[7] != strconv.Itoa(uid) {
			continue
		}
		if index, err := strconv.Atoi(f[4]); err == nil {
			rings[index]++
		}
	}
	return rings
}

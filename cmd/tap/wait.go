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

	"github.com/meshtls-tap/meshtls-tap/internal/live"
	"github.com/meshtls-tap/meshtls-tap/internal/variables"
)

// longestWait is the longest time for which `tap wait` delays the pod's next container.
const longestWait = time.Second

// waitPoll is the time between two checks of the tap.
const waitPoll = 5 * time.Millisecond

const waitHelp = `Usage: tap wait

Waits until the tap of this container (tap run) captures on each of TAP_INTERFACES that is up,
for a second at most. It is the postStart hook of a native sidecar: the pod's next container
starts when it has ended. Its exit status is always 0, since a hook that fails ends its
container.

Example:
  tap wait    (in a pod: lifecycle.postStart.exec.command)
`

// wait is the command `tap wait`. It never fails: an error or a panic only ends the wait.
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
	case <-time.After(longestWait): // reading /proc may hang
	}
}

// waitFor calls yes every waitPoll. It returns when yes returns true, or after the duration most.
func waitFor(yes func() bool, most time.Duration) {
	for end := time.Now().Add(most); !yes() && time.Now().Before(end); {
		time.Sleep(waitPoll)
	}
}

// capturing reports whether a tap with this environment and this user captures. It must have all its rings open on each of its
// interfaces that is up. A missing interface is not waited for, because a pod's network is set up before its containers start.
// list is the system's list of packet sockets. The list is used because the tap's own files in /proc cannot be read: its program
// has a file capability.
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
	names := interfacesOf(environ)
	for _, i := range all {
		wanted := slices.Contains(names, everyInterface) || slices.Contains(names, i.Name)
		if wanted && i.Flags&net.FlagUp != 0 && rings[i.Index] < live.RingsPerInterface {
			return false
		}
	}
	return true
}

// interfacesOf returns the value of TAP_INTERFACES in an environment, or its default.
func interfacesOf(environ []string) []string {
	const name = "TAP_INTERFACES"
	list, ok := variables.Of(environ)[name]
	if !ok || strings.Trim(list, ", ") == "" {
		list = variables.Defaults[environment]()[name]
	}
	return variables.List([]string{list})
}

// maxSocketList is the largest part of the list that is read, in bytes.
const maxSocketList = 1 << 20

// packetSockets counts the packet sockets of a user that receive, by the index of their interface. r is /proc/net/packet, in the
// format of packet_seq_show in net/packet/af_packet.c. A line has the columns sk, RefCnt, Type, Proto, Iface, R (running), Rmem,
// User, Inode.
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

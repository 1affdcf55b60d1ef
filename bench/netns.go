//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

// pods are two network namespaces, the tapped pod and its peer, connected by a veth pair. Both have eth0 and lo.
type pods struct {
	pod, peer string // names of the namespaces
}

// IP and MAC addresses of the pod and its peer.
const (
	podIP   = "10.0.0.5"
	peerIP  = "10.0.1.0"
	podMAC  = "02:00:00:00:00:05"
	peerMAC = "02:00:00:00:00:06"
)

// newPods creates the two namespaces. The MTU is 1500 and the offloads are the defaults, as in pods. The caller
// removes the namespaces.
func newPods() (*pods, error) {
	n := &pods{pod: fmt.Sprintf("meshtls-bench-%d-pod", os.Getpid()), peer: fmt.Sprintf("meshtls-bench-%d-peer", os.Getpid())}
	err := each(
		"ip netns add "+n.pod,
		"ip netns add "+n.peer,
		"ip link add eth0 netns "+n.pod+" address "+podMAC+" type veth peer name eth0 netns "+n.peer+" address "+peerMAC,
		"ip -n "+n.pod+" address add "+podIP+"/16 dev eth0",
		"ip -n "+n.peer+" address add "+peerIP+"/16 dev eth0",
		"ip -n "+n.pod+" link set lo up",
		"ip -n "+n.peer+" link set lo up",
		"ip -n "+n.pod+" link set eth0 up",
		"ip -n "+n.peer+" link set eth0 up",
		"ip -n "+n.pod+" neighbor replace "+peerIP+" lladdr "+peerMAC+" dev eth0 nud permanent",
		"ip -n "+n.peer+" neighbor replace "+podIP+" lladdr "+podMAC+" dev eth0 nud permanent",
	)
	if err != nil {
		n.remove()
		return nil, err
	}
	return n, nil
}

// remove deletes the namespaces. It prints errors instead of returning them.
func (n *pods) remove() {
	for _, name := range []string{n.pod, n.peer} {
		if _, err := os.Stat("/run/netns/" + name); err == nil {
			if err := each("ip netns delete " + name); err != nil {
				progress("  not deleted: %v", err)
			}
		}
	}
}

// each runs commands in order and returns the first error.
func each(commands ...string) error {
	for _, c := range commands {
		if _, err := run("", strings.Fields(c)...); err != nil {
			return err
		}
	}
	return nil
}

// inPods runs f with two new namespaces and deletes them.
func inPods(f func(*pods) error) error {
	if os.Getuid() != 0 {
		return errors.New("only root can create network namespaces: run it as root")
	}
	n, err := newPods()
	if err != nil {
		return err
	}
	defer n.remove()
	return f(n)
}

// inDeafPods is like inPods, but the pod's IP stack receives nothing from eth0. Packet sockets get the packets before
// netfilter's ingress hook drops them.
func inDeafPods(f func(*pods) error) error {
	return inPods(func(n *pods) error {
		_, err := run(n.pod, "nft", `add table netdev bench; add chain netdev bench in { type filter hook ingress device "eth0" priority 0; policy drop; }`)
		if err != nil {
			return err
		}
		return f(n)
	})
}

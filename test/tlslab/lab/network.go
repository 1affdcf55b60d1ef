package main

import (
	"fmt"
	"os/exec"
	"strings"
)

// The lab's network has two namespaces, one for the client and one for the server. A veth pair connects them.
const (
	clientNS   = "tlslab-c"
	serverNS   = "tlslab-s"
	clientAddr = "10.77.0.1"
	serverAddr = "10.77.0.2"
	port       = "8443"
	plainPort  = "15001" // port of a plaintext proxy in the client's namespace
	request    = "GET /ping HTTP/1.1\r\nHost: " + serverName + "\r\nConnection: close\r\n\r\n"
)

func makeNetwork() error {
	removeNetwork()
	for _, line := range []string{
		"netns add " + clientNS,
		"netns add " + serverNS,
		"link add eth0 netns " + clientNS + " type veth peer name eth0 netns " + serverNS,
		"-n " + clientNS + " addr add " + clientAddr + "/24 dev eth0",
		"-n " + serverNS + " addr add " + serverAddr + "/24 dev eth0",
		"-n " + clientNS + " link set eth0 up",
		"-n " + serverNS + " link set eth0 up",
		"-n " + clientNS + " link set lo up",
		"-n " + serverNS + " link set lo up",
	} {
		if err := command("ip", strings.Fields(line)...); err != nil {
			removeNetwork()
			return fmt.Errorf("create the network: %w", err)
		}
	}
	return nil
}

func removeNetwork() {
	for _, ns := range []string{clientNS, serverNS} {
		_ = exec.Command("ip", "netns", "del", ns).Run()
	}
}

func inside(ns string, argv []string) *exec.Cmd {
	return exec.Command("ip", append([]string{"netns", "exec", ns}, argv...)...)
}

//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"
)

// captureEthernet is the role of a capture program other than the tap. It captures on the interface args[0] as most Go
// programs without cgo do: with pcapgo.EthernetHandle (without copying) and a DecodingLayerParser. After SIGINT or
// SIGTERM it prints how many packets were received and dropped, and ends.
func captureEthernet(args []string) error {
	if len(args) != 1 {
		return errors.New("expected an interface")
	}
	h, err := pcapgo.NewEthernetHandle(args[0])
	if err != nil {
		return err
	}
	var eth layers.Ethernet
	var ip4 layers.IPv4
	var ip6 layers.IPv6
	var tcp layers.TCP
	var udp layers.UDP
	parser := gopacket.NewDecodingLayerParser(layers.LayerTypeEthernet, &eth, &ip4, &ip6, &tcp, &udp)
	parser.IgnoreUnsupported = true
	var decoded []gopacket.LayerType
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-ended
		s, err := h.Stats()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Fprintf(os.Stderr, "%d packets received\n%d packets dropped\n", s.Packets, s.Drops)
		os.Exit(0)
	}()
	fmt.Fprintln(os.Stderr, "listening on", args[0])
	for {
		data, _, err := h.ZeroCopyReadPacketData()
		if err != nil {
			return err
		}
		if err := parser.DecodeLayers(data, &decoded); err != nil {
			continue // packets that are not IP cause an error
		}
	}
}

// ethernetResult stops captureEthernet and returns the two numbers that it prints.
func ethernetResult(r *running) (packets, dropped float64, err error) {
	if _, err := r.stop(os.Interrupt); err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(r.err.String()) {
		var n float64
		var unit, fate string
		if _, err := fmt.Sscan(line, &n, &unit, &fate); err != nil {
			continue
		}
		if fate == "received" {
			packets = n
		} else {
			dropped = n
		}
	}
	return packets, dropped, nil
}

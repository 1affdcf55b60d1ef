package main

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// settings make tshark identify protocols by content before it considers ports, put segments in order, and read a
// capture twice. After the second reading, the output for a packet includes facts from later packets.
var settings = []string{
	"-n", "-2",
	"-o", "tcp.try_heuristic_first:TRUE", "-o", "udp.try_heuristic_first:TRUE",
	"-o", "tcp.reassemble_out_of_order:TRUE",
	"--enable-heuristic", "tls_tcp", "--enable-heuristic", "dtls_udp", "--enable-heuristic", "quic",
}

// columns are the fields that tshark prints for each packet. Several values of a field are separated by separator; no
// value contains it or a tab.
var columns = []string{
	"frame.protocols", "frame.time_epoch", "tcp.stream", "udp.stream",
	"ip.src", "ip.dst", "ipv6.src", "ipv6.dst", "tcp.srcport", "tcp.dstport", "udp.srcport", "udp.dstport",
}

// handshakeColumns are printed after columns: one set for TLS and one for DTLS.
var handshakeColumns = []string{
	"type", "version", "extensions.supported_version", "ciphersuite", "random",
	"extensions_server_name", "extensions_alpn_str", "ja3", "ja3s", "certificate",
}

const separator = "\x1f"

// packet has the values of the columns, by name.
type packet map[string][]string

// last returns the value of the innermost layer. For a packet in a tunnel this is the packet's own value, not the
// tunnel's.
func (p packet) last(column string) string {
	if v := p[column]; len(v) > 0 {
		return v[len(v)-1]
	}
	return ""
}

func (p packet) first(column string) string {
	if v := p[column]; len(v) > 0 {
		return v[0]
	}
	return ""
}

// readTshark returns the connections that tshark finds in a capture. If the capture is broken, readTshark returns the
// connections before the error, and the error.
func readTshark(tshark, file string, names suites) ([]*connection, error) {
	args := append(slices.Clone(settings), "-r", file, "-T", "fields", "-E", "aggregator="+separator)
	for _, name := range allColumns() {
		args = append(args, "-e", name)
	}
	out, err := run(tshark, args...)
	if err != nil {
		err = fmt.Errorf("tshark: %w", err)
	}
	return parseTshark(string(out), names), err
}

func allColumns() []string {
	all := slices.Clone(columns)
	for _, protocol := range []string{"tls", "dtls"} {
		for _, name := range handshakeColumns {
			all = append(all, protocol+".handshake."+name)
		}
	}
	return all
}

// parseTshark returns the connections in tshark's output, in the order of their first packets.
func parseTshark(out string, names suites) []*connection {
	var found []*stream
	streams := map[string]*stream{}
	all := allColumns()
	for line := range strings.Lines(out) {
		p := packet{}
		for i, v := range strings.Split(strings.TrimSuffix(line, "\n"), "\t") {
			if i < len(all) && v != "" {
				p[all[i]] = strings.Split(v, separator)
			}
		}
		transport, from, to, ok := p.addresses()
		if !ok {
			continue
		}
		key := transport + p.last(transport+".stream")
		s := streams[key]
		if s == nil {
			s = &stream{connection: connection{transport: transport, from: from, to: to, start: p.time(), end: p.time()}}
			streams[key], found = s, append(found, s)
		}
		if now := p.time(); now.After(s.end) {
			s.end = now
		}
		s.packet(p, from, names)
	}
	var connections []*connection
	for _, s := range found {
		connections = append(connections, s.finish())
	}
	return connections
}

// addresses returns the innermost transport protocol and its two ends. It ignores packets that ICMP messages quote.
func (p packet) addresses() (transport string, from, to netip.AddrPort, ok bool) {
	var network string
	for protocol := range strings.SplitSeq(p.first("frame.protocols"), ":") {
		switch protocol {
		case "icmp", "icmpv6":
			return "", from, to, false
		case "ip", "ipv6":
			network = protocol
		case "tcp", "udp":
			transport = protocol
		}
	}
	if network == "" || transport == "" || p.last(transport+".stream") == "" {
		return "", from, to, false
	}
	from, err1 := netip.ParseAddrPort(netJoin(p.last(network+".src"), p.last(transport+".srcport")))
	to, err2 := netip.ParseAddrPort(netJoin(p.last(network+".dst"), p.last(transport+".dstport")))
	return transport, from, to, err1 == nil && err2 == nil
}

func netJoin(address, port string) string {
	if strings.Contains(address, ":") {
		address = "[" + address + "]"
	}
	return address + ":" + port
}

func (p packet) time() time.Time {
	seconds, nanos, _ := strings.Cut(p.first("frame.time_epoch"), ".")
	s, _ := strconv.ParseInt(seconds, 10, 64)
	n, _ := strconv.ParseInt((nanos + "000000000")[:9], 10, 64)
	return time.Unix(s, n)
}

// suiteNames returns tshark's names of the cipher suites, by number, and tshark's version.
func suiteNames(tshark string) (suites, string, error) {
	out, err := run(tshark, "--version")
	if err != nil {
		return nil, "", fmt.Errorf("tshark: %w", err)
	}
	version, _, _ := strings.Cut(string(out), "\n")
	if out, err = run(tshark, "-G", "values"); err != nil {
		return nil, "", fmt.Errorf("tshark: %w", err)
	}
	names := suites{}
	for line := range strings.Lines(string(out)) {
		column := strings.Split(strings.TrimSpace(line), "\t")
		if len(column) == 4 && column[0] == "V" && column[1] == "tls.handshake.ciphersuite" {
			if n, err := strconv.ParseUint(column[2], 0, 16); err == nil {
				names[n] = column[3]
			}
		}
	}
	return names, strings.TrimSuffix(version, "."), nil
}

package capturetest

import (
	"io"
	"net"
	"net/netip"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"
)

// Options describe the packets of a conversation. The zero value is usable.
type Options struct {
	Client, Server     netip.AddrPort // default 10.0.0.1:40000 and 10.0.0.2:443
	MSS                int            // default 1448
	Start              time.Time      // default 2026-01-01 00:00 UTC
	ClientISN, ServISN uint32         // default 1000 and 2000
	NoSYN, NoFIN       bool           // omit the TCP handshake, omit the FINs
	Reset              bool           // the server ends the connection with a RST
}

// Frame is one Ethernet frame.
type Frame struct {
	Time time.Time
	Data []byte
}

func (o Options) defaults() Options {
	if !o.Client.IsValid() {
		o.Client = netip.MustParseAddrPort("10.0.0.1:40000")
	}
	if !o.Server.IsValid() {
		o.Server = netip.MustParseAddrPort("10.0.0.2:443")
	}
	if o.MSS == 0 {
		o.MSS = 1448
	}
	if o.Start.IsZero() {
		o.Start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	if o.ClientISN == 0 {
		o.ClientISN = 1000
	}
	if o.ServISN == 0 {
		o.ServISN = 2000
	}
	return o
}

// writer creates the frames of one connection, a millisecond apart.
type writer struct {
	o      Options
	sent   [2]int // bytes sent by client and server
	frames []Frame
}

// Packets splits a conversation into the frames of a TCP connection.
func (c *Conversation) Packets(o Options) []Frame {
	w := &writer{o: o.defaults()}
	if !o.NoSYN {
		w.frame(false, nil, layers.TCP{SYN: true, Seq: w.o.ClientISN})
		w.frame(true, nil, layers.TCP{SYN: true, ACK: true, Seq: w.o.ServISN, Ack: w.o.ClientISN + 1})
		w.send(false, nil, 0)
	}
	for _, chunk := range c.Chunks {
		for data := chunk.Data; len(data) > 0; {
			n := min(len(data), w.o.MSS)
			w.send(chunk.FromServer, data[:n], chunk.Read)
			data = data[n:]
		}
	}
	switch {
	case o.Reset:
		w.flags(true, layers.TCP{RST: true, ACK: true})
	case !o.NoFIN:
		w.flags(false, layers.TCP{FIN: true, ACK: true})
		w.flags(true, layers.TCP{FIN: true, ACK: true})
	}
	return w.frames
}

func (w *writer) isn(server bool) uint32 {
	if server {
		return w.o.ServISN
	}
	return w.o.ClientISN
}

func index(server bool) int {
	if server {
		return 1
	}
	return 0
}

// send appends a data frame. read is the number of bytes of the other side's stream that the sender has read.
func (w *writer) send(server bool, data []byte, read int) {
	i := index(server)
	w.frame(server, data, layers.TCP{ACK: true, PSH: len(data) > 0, Seq: w.isn(server) + 1 + uint32(w.sent[i]), Ack: w.isn(!server) + 1 + uint32(read)})
	w.sent[i] += len(data)
}

func (w *writer) flags(server bool, t layers.TCP) {
	t.Seq = w.isn(server) + 1 + uint32(w.sent[index(server)])
	t.Ack = w.isn(!server) + 1 + uint32(w.sent[index(!server)])
	w.frame(server, nil, t)
}

func (w *writer) frame(server bool, data []byte, t layers.TCP) {
	from, to := w.o.Client, w.o.Server
	if server {
		from, to = to, from
	}
	at := w.o.Start.Add(time.Duration(len(w.frames)) * time.Millisecond)
	t.Window = 65535
	w.frames = append(w.frames, Frame{Time: at, Data: TCPFrame(from, to, t, data)})
}

// TCPFrame returns an Ethernet frame with a TCP segment.
func TCPFrame(from, to netip.AddrPort, t layers.TCP, data []byte) []byte {
	t.SrcPort, t.DstPort = layers.TCPPort(from.Port()), layers.TCPPort(to.Port())
	return frame(from.Addr(), to.Addr(), layers.IPProtocolTCP, &t, data)
}

// UDPFrame returns an Ethernet frame with a UDP datagram.
func UDPFrame(from, to netip.AddrPort, data []byte) []byte {
	u := layers.UDP{SrcPort: layers.UDPPort(from.Port()), DstPort: layers.UDPPort(to.Port())}
	return frame(from.Addr(), to.Addr(), layers.IPProtocolUDP, &u, data)
}

// transport is a TCP or UDP layer.
type transport interface {
	gopacket.SerializableLayer
	SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
}

func frame(from, to netip.Addr, protocol layers.IPProtocol, t transport, data []byte) []byte {
	eth := layers.Ethernet{SrcMAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, DstMAC: net.HardwareAddr{2, 0, 0, 0, 0, 2}, EthernetType: layers.EthernetTypeIPv4}
	var ip gopacket.SerializableLayer
	if from.Is4() {
		v4 := &layers.IPv4{Version: 4, TTL: 64, Protocol: protocol, SrcIP: from.AsSlice(), DstIP: to.AsSlice()}
		ip = v4
		_ = t.SetNetworkLayerForChecksum(v4)
	} else {
		v6 := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: protocol, SrcIP: from.AsSlice(), DstIP: to.AsSlice()}
		eth.EthernetType = layers.EthernetTypeIPv6
		ip = v6
		_ = t.SetNetworkLayerForChecksum(v6)
	}
	buf := gopacket.NewSerializeBuffer()
	opts := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	if err := gopacket.SerializeLayers(buf, opts, &eth, ip, t, gopacket.Payload(data)); err != nil {
		panic(err) // cannot happen: the layers are built here
	}
	return buf.Bytes()
}

// WritePcap writes frames as an Ethernet pcap file with nanosecond timestamps.
func WritePcap(out io.Writer, frames []Frame) error {
	w := pcapgo.NewWriterNanos(out)
	if err := w.WriteFileHeader(262144, layers.LinkTypeEthernet); err != nil {
		return err
	}
	for _, f := range frames {
		ci := gopacket.CaptureInfo{Timestamp: f.Time, CaptureLength: len(f.Data), Length: len(f.Data)}
		if err := w.WritePacket(ci, f.Data); err != nil {
			return err
		}
	}
	return nil
}

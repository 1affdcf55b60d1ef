package afpacket

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

func TestBothFamilies(t *testing.T) {
	l, r := pair(t)
	for network, etherType := range map[string]uint16{"udp4": 0x0800, "udp6": 0x86dd} {
		t.Run(network, func(t *testing.T) {
			client, server := l.datagrams(t, network, left[network]), r.datagrams(t, network, right[network])
			sender, receiver := l.capture(t, Config{Interface: "left0"}), r.capture(t, Config{Interface: "right0"})
			payload := []byte("over " + network)
			before := time.Now().UnixNano()
			send(t, client, server, payload)
			after := time.Now().UnixNano()
			for _, end := range []struct {
				c     *capture
				name  string
				typed uint8
			}{{sender, "left0", TypeOutgoing}, {receiver, "right0", TypeHost}} {
				if end.c.Index() == 0 || end.c.LinkType() != wire.LinkEthernet {
					t.Errorf("%s: index %d, link type %d", end.name, end.c.Index(), end.c.LinkType())
				}
				end.c.stop(t)
				found := end.c.with(payload)
				if len(found) != 1 {
					t.Fatalf("%s: seen %d times, want once", end.name, len(found))
				}
				p := found[0]
				if got := binary.BigEndian.Uint16(p.Data[12:]); got != etherType {
					t.Errorf("%s: EtherType %#x, want %#x", end.name, got, etherType)
				}
				if p.Type != end.typed || p.Length != len(p.Data) || p.VLANType != 0 {
					t.Errorf("%s: type %d, length %d of %d, VLAN type %#x", end.name, p.Type, len(p.Data), p.Length, p.VLANType)
				}
				if p.Time < before || p.Time > after {
					t.Errorf("%s: time %d, want it between %d and %d", end.name, p.Time, before, after)
				}
				if s := stats(t, end.c.Handle); s.Drops != 0 || s.Malformed != 0 || s.Downs != 0 || s.Down {
					t.Errorf("%s: %+v", end.name, s)
				}
			}
		})
	}
}

func TestLoopbackOnce(t *testing.T) {
	n := loopback(t)
	from, to := n.datagrams(t, "udp4", "127.0.0.1"), n.datagrams(t, "udp4", "127.0.0.1")
	c := n.capture(t, Config{Interface: "lo", Filter: toPort(t, port(to))})
	const sent = 50
	for i := range sent {
		send(t, from, to, fmt.Appendf(nil, "number %d", i))
	}
	packets := c.stop(t)
	if len(packets) != sent {
		t.Errorf("seen %d packets, want each of %d once", len(packets), sent)
	}
	for i, p := range packets {
		if want := fmt.Appendf(nil, "number %d", i); p.Type != TypeHost || !bytes.HasSuffix(p.Data, want) {
			t.Errorf("packet %d: type %d, data %q", i, p.Type, p.Data)
		}
	}
	if c.LinkType() != wire.LinkEthernet {
		t.Errorf("link type %d", c.LinkType())
	}
}

// frame sends an Ethernet frame unchanged from an interface.
func (n *namespace) frame(t *testing.T, name string, frame []byte) {
	t.Helper()
	n.do(t, func() error {
		d, err := lookup(name)
		if err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: d.index})
	})
}

// TestTagged: the kernel removes the outer tag of an arriving frame. This does not depend on the
// driver that sent it.
func TestTagged(t *testing.T) {
	l, r := pair(t)
	c := r.capture(t, Config{Interface: "right0"})
	addresses := []byte("\xff\xff\xff\xff\xff\xff\x02\x00\x00\x00\x00\x01")
	for name, test := range map[string]struct {
		tags  string
		typed uint16
		tci   uint16
		left  string // the tags that stay in the frame
	}{
		"802.1Q":       {"\x81\x00\x60\x05", 0x8100, 3<<13 | 5, ""},
		"802.1ad":      {"\x88\xa8\x00\x07", 0x88a8, 7, ""},
		"QinQ":         {"\x88\xa8\x00\x07\x81\x00\x00\x05", 0x88a8, 7, "\x81\x00\x00\x05"},
		"priority tag": {"\x81\x00\xe0\x00", 0x8100, 7 << 13, ""},
		"none":         {"", 0, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			payload := []byte("\x88\xb6" + strings.Repeat(name+".", 20))
			sent := append(append(bytes.Clone(addresses), test.tags...), payload...)
			l.frame(t, "left0", sent)
			eventually(t, "the frame", func() bool { return len(c.with(payload)) > 0 })
			p := c.with(payload)[0]
			if p.VLANType != test.typed || p.VLAN != test.tci {
				t.Errorf("tag %#x %#x, want %#x %#x", p.VLANType, p.VLAN, test.typed, test.tci)
			}
			if want := append(append(bytes.Clone(addresses), test.left...), payload...); !bytes.Equal(p.Data, want) || p.Length != len(want) {
				t.Errorf("frame %q (%d), want %q", p.Data, p.Length, want)
			}
		})
	}
}

// TestSubinterface: a packet passes through an 802.1Q interface. It has its tag on the parent
// interface, and no tag on the 802.1Q interface.
func TestSubinterface(t *testing.T) {
	l, r := pair(t)
	for n, name := range map[*namespace]string{l: "left0", r: "right0"} {
		var missing string
		n.do(t, func() error {
			out, err := output("ip", "link", "add", "link", name, "name", name+".5", "type", "vlan", "id", "5")
			if err != nil && strings.Contains(out, "Unknown device type") {
				missing = out
				return nil
			}
			return err
		})
		if missing != "" {
			t.Skipf("this kernel has no 802.1Q interfaces (CONFIG_VLAN_8021Q): %s", missing)
		}
	}
	l.ip(t, "link set left0.5 up\naddr add 10.9.5.1/24 dev left0.5")
	r.ip(t, "link set right0.5 up\naddr add 10.9.5.2/24 dev right0.5")
	client, server := l.datagrams(t, "udp4", "10.9.5.1"), r.datagrams(t, "udp4", "10.9.5.2")
	below, above := r.capture(t, Config{Interface: "right0"}), r.capture(t, Config{Interface: "right0.5"})
	payload := []byte("through a VLAN")
	send(t, client, server, payload)
	below.stop(t)
	above.stop(t)
	if p := below.with(payload); len(p) != 1 || p[0].VLANType != 0x8100 || p[0].VLAN != 5 {
		t.Errorf("below: %+v", p)
	}
	if p := above.with(payload); len(p) != 1 || p[0].VLANType != 0 {
		t.Errorf("above: %+v", p)
	}
}

// TestLargeDatagrams: the largest frames without BIG TCP are captured untruncated. Segmentation
// offload creates them on the veth pair; on lo the MTU allows them.
func TestLargeDatagrams(t *testing.T) {
	payload := bytes.Repeat([]byte("0123456789abcdef"), 4096)[:65507] // the most that UDP over IPv4 takes
	t.Run("lo", func(t *testing.T) {
		n := loopback(t)
		from, to := n.datagrams(t, "udp4", "127.0.0.1"), n.datagrams(t, "udp4", "127.0.0.1")
		c := n.capture(t, Config{Interface: "lo"})
		send(t, from, to, payload)
		c.stop(t)
		if p := c.with(payload); len(p) != 1 || p[0].Length != len(p[0].Data) || len(p[0].Data) != 14+20+8+len(payload) {
			t.Errorf("seen %d times: %+v", len(p), lengths(p))
		}
	})
	t.Run("veth", func(t *testing.T) {
		l, r := pair(t)
		client, server := l.datagrams(t, "udp4", left["udp4"]), r.datagrams(t, "udp4", right["udp4"])
		c := r.capture(t, Config{Interface: "right0"})
		const segment, segments = 1400, 46
		raw, err := client.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		if e := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_SEGMENT, segment) }); e != nil || err != nil {
			t.Fatal(e, err)
		}
		if _, err := client.WriteTo(payload[:segment*segments], server.LocalAddr()); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, segment)
		for range segments {
			server.SetReadDeadline(time.Now().Add(patience))
			if _, err := server.Read(b); err != nil {
				t.Fatal(err)
			}
		}
		c.stop(t)
		if p := c.with(payload[:segment*segments]); len(p) != 1 || p[0].Length != 14+20+8+segment*segments {
			t.Errorf("seen %d times, all: %+v %+v", len(p), lengths(c.seen()), stats(t, c.Handle))
		}
	})
}

func lengths(packets []Packet) (n []int) {
	for _, p := range packets {
		n = append(n, p.Length)
	}
	return n
}

// TestBulk: every byte of a TCP connection at full speed is captured, in frames far larger than
// the MTU.
func TestBulk(t *testing.T) {
	l, r := pair(t)
	for name, test := range map[string]struct {
		client, server *namespace
		address, on    string
	}{
		"veth": {l, r, right["udp4"], "right0"},
		"lo":   {l, l, "127.0.0.1", "lo"},
	} {
		t.Run(name, func(t *testing.T) {
			c := test.server.capture(t, Config{Interface: test.on, RingBytes: 64 << 20})
			sent := bytes.Repeat([]byte("all of it. "), 1<<20)
			transfer(t, test.client, test.server, test.address, sent)
			packets := c.stop(t)
			if s := stats(t, c.Handle); s.Drops != 0 {
				t.Fatalf("a ring that holds it all has dropped: %+v", s)
			}
			if got := stream(packets, bulkPort); !bytes.Equal(got, sent) {
				t.Errorf("put together %d bytes, want the %d that were sent", len(got), len(sent))
			}
			longest := 0
			for _, p := range packets {
				longest = max(longest, len(p.Data))
				if len(p.Data) != p.Length {
					t.Errorf("a frame of %d bytes was truncated to %d", p.Length, len(p.Data))
				}
			}
			if longest <= 1514 {
				t.Errorf("the longest frame has %d bytes: there is no segmentation offload", longest)
			}
			t.Logf("%d packets, the longest of %d bytes", len(packets), longest)
		})
	}
}

func TestSnapLength(t *testing.T) {
	n := loopback(t)
	from, to := n.datagrams(t, "udp4", "127.0.0.1"), n.datagrams(t, "udp4", "127.0.0.1")
	lengthOf, err := bpf.Assemble([]bpf.Instruction{bpf.LoadExtension{Num: bpf.ExtLen}, bpf.RetA{}})
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		config Config
		want   int // how many of the frame's 142 bytes are captured
	}{
		"whole":                  {Config{}, 142},
		"truncated":              {Config{SnapLength: 60}, 60},
		"filter, truncated":      {Config{SnapLength: 60, Filter: toPort(t, port(to))}, 60},
		"filter, whole":          {Config{SnapLength: 1000, Filter: toPort(t, port(to))}, 142},
		"accumulator, truncated": {Config{SnapLength: 60, Filter: lengthOf}, 60},
		"accumulator":            {Config{SnapLength: 1000, Filter: lengthOf}, 142},
		"small ring, whole":      {Config{RingBytes: 8192, BlockBytes: 4096}, 142},
		"one byte":               {Config{SnapLength: 1}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			test.config.Interface = "lo"
			c := n.capture(t, test.config)
			send(t, from, to, bytes.Repeat([]byte("x"), 100))
			packets := c.stop(t)
			if len(packets) != 1 || len(packets[0].Data) != test.want || packets[0].Length != 142 {
				t.Errorf("%+v, want one with %d bytes", packets, test.want)
			}
		})
	}
}

// TestTooLong: a frame that does not fit into a block is truncated, and its length shows that.
func TestTooLong(t *testing.T) {
	n := loopback(t)
	from, to := n.datagrams(t, "udp4", "127.0.0.1"), n.datagrams(t, "udp4", "127.0.0.1")
	c := n.capture(t, Config{Interface: "lo", RingBytes: 64 << 10, BlockBytes: 16 << 10})
	send(t, from, to, make([]byte, 60000))
	packets := c.stop(t)
	if len(packets) != 1 || packets[0].Length != 60042 || len(packets[0].Data) < 15<<10 || len(packets[0].Data) >= 16<<10 {
		t.Errorf("%v", lengths(packets))
	}
}

// TestRawLink: packets of an interface without a link layer begin with the IP header.
func TestRawLink(t *testing.T) {
	n := newNamespace(t)
	var missing string
	n.do(t, func() error {
		out, err := output("ip", "tuntap", "add", "mode", "tun", "name", "tun0")
		if err != nil {
			missing = fmt.Sprint(err, ": ", out)
		}
		return nil
	})
	if missing != "" {
		t.Skipf("no tun interface can be made here: %s", missing)
	}
	var device io.ReadWriteCloser
	n.do(t, func() (err error) {
		device, err = openTun("tun0")
		return err
	})
	defer device.Close()
	n.ip(t, "link set tun0 up\naddr add 10.9.7.1/24 dev tun0")
	n.do(t, func() error {
		if link, err := Link("tun0"); err != nil || link != wire.LinkRaw {
			return fmt.Errorf("link type %d, %w", link, err)
		}
		return nil
	})
	c := n.capture(t, Config{Interface: "tun0"})
	socket := n.datagrams(t, "udp4", "10.9.7.1")
	out := []byte("leaves through the tunnel")
	if _, err := socket.WriteTo(out, &net.UDPAddr{IP: net.IPv4(10, 9, 7, 2), Port: 9}); err != nil {
		t.Fatal(err)
	}
	in := ipv4(out[:6], [4]byte{10, 9, 7, 2}, [4]byte{10, 9, 7, 1}, port(socket))
	if _, err := device.Write(in); err != nil {
		t.Fatal(err)
	}
	eventually(t, "both packets", func() bool { return len(c.with(out)) == 1 && len(c.with(in)) == 1 })
	c.stop(t)
	if p := c.with(out)[0]; p.Type != TypeOutgoing || p.Data[0]>>4 != 4 || c.LinkType() != wire.LinkRaw {
		t.Errorf("%+v, link type %d", p, c.LinkType())
	}
	if p := c.with(in)[0]; p.Type != TypeHost || !bytes.Equal(p.Data, in) {
		t.Errorf("%+v", p)
	}
}

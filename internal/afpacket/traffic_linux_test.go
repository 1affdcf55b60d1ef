package afpacket

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"testing"
	"time"
)

// datagrams opens a UDP socket in the namespace. The socket counts the datagrams that it receives.
func (n *namespace) datagrams(t testing.TB, network, address string) *net.UDPConn {
	t.Helper()
	var c *net.UDPConn
	n.do(t, func() (err error) {
		c, err = net.ListenUDP(network, &net.UDPAddr{IP: net.ParseIP(address)})
		return err
	})
	t.Cleanup(func() { c.Close() })
	return c
}

func port(c *net.UDPConn) uint16 { return uint16(c.LocalAddr().(*net.UDPAddr).Port) }

// send sends a datagram from one socket to the other, and waits until it has arrived. Every capture
// on its path has then seen it.
func send(t testing.TB, from, to *net.UDPConn, payload []byte) {
	t.Helper()
	if _, err := from.WriteToUDP(payload, to.LocalAddr().(*net.UDPAddr)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, len(payload)+1)
	to.SetReadDeadline(time.Now().Add(patience))
	if n, err := to.Read(b); err != nil || !bytes.Equal(b[:n], payload) {
		t.Fatalf("received %d of %d bytes: %v", n, len(payload), err)
	}
}

// flood sends datagrams without a pause until stop is called. stop returns how many datagrams were
// sent.
func flood(from, to *net.UDPConn, payload []byte) (stop func() int) {
	address := to.LocalAddr().(*net.UDPAddr)
	end, sent := make(chan struct{}), make(chan int)
	go func() {
		n := 0
		for {
			select {
			case <-end:
				sent <- n
				return
			default:
			}
			if _, err := from.WriteToUDP(payload, address); err == nil {
				n++
			}
		}
	}()
	return func() int { close(end); return <-sent }
}

// bulkPort is the port to which transfer sends.
const bulkPort = 5001

// transfer sends bytes through a TCP connection and waits until they have arrived.
func transfer(t *testing.T, client, server *namespace, address string, b []byte) {
	t.Helper()
	var listener net.Listener
	server.do(t, func() (err error) {
		listener, err = net.Listen("tcp", fmt.Sprintf("%s:%d", address, bulkPort))
		return err
	})
	defer listener.Close()
	received := make(chan int64)
	go func() {
		var n int64
		if conn, err := listener.Accept(); err == nil {
			n, _ = io.Copy(io.Discard, conn)
			conn.Close()
		}
		received <- n
	}()
	var conn net.Conn
	client.do(t, func() (err error) {
		conn, err = net.Dial("tcp", listener.Addr().String())
		return err
	})
	_, err := conn.Write(b)
	conn.Close()
	if n := <-received; err != nil || n != int64(len(b)) {
		t.Fatalf("received %d of %d bytes: %v", n, len(b), err)
	}
}

// stream reassembles the bytes sent to a port over TCP and IPv4.
func stream(packets []Packet, port uint16) []byte {
	var b []byte
	var first uint32
	for _, p := range packets {
		if len(p.Data) < 14+20+20 || binary.BigEndian.Uint16(p.Data[12:]) != 0x0800 || p.Data[14+9] != 6 {
			continue
		}
		tcp := p.Data[14+20:]
		if binary.BigEndian.Uint16(tcp[2:]) != port {
			continue
		}
		seq, payload := binary.BigEndian.Uint32(tcp[4:]), tcp[tcp[12]>>4*4:]
		if tcp[13]&2 != 0 { // SYN
			first, b = seq+1, nil
			continue
		}
		// The length in the IP header separates the payload from padding. A length of 0 means that the packet
		// is longer than 64 KiB. Such a packet is the whole rest of the frame.
		if total := int(binary.BigEndian.Uint16(p.Data[14+2:])); total != 0 {
			payload = payload[:total-20-int(tcp[12]>>4*4)]
		}
		if at := int(seq - first); len(payload) > 0 {
			if grow := at + len(payload) - len(b); grow > 0 {
				b = append(b, make([]byte, grow)...)
			}
			copy(b[at:], payload)
		}
	}
	return b
}

// ipv4 returns an IPv4 packet with a UDP datagram. The IP checksum is right.
func ipv4(payload []byte, src, dst [4]byte, port uint16) []byte {
	b := []byte{0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0}
	b = append(append(b, src[:]...), dst[:]...)
	binary.BigEndian.PutUint16(b[2:], uint16(20+8+len(payload)))
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	binary.BigEndian.PutUint16(b[10:], ^uint16(sum%0xffff))
	b = binary.BigEndian.AppendUint16(b, 9)
	b = binary.BigEndian.AppendUint16(b, port)
	b = binary.BigEndian.AppendUint16(b, uint16(8+len(payload)))
	b = binary.BigEndian.AppendUint16(b, 0) // no checksum
	return append(b, payload...)
}

//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"runtime"
	"time"
	"unsafe" //nolint:depguard // sendmmsg(2) has no wrapper

	"golang.org/x/sys/unix"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
)

// sent is the result that the sender prints.
type sent struct {
	Packets     int
	Connections int
	Seconds     float64
	CPU         float64 // seconds: CPU time of the sender, and of the kernel while it sent, including the copies for the tap
}

// source appends the next frame to b. If there are no more frames, it appends nothing.
type source func(b []byte) []byte

// send is the role of the sender. It writes the peer's frames to the peer's eth0 with a packet socket. The pod does
// not answer them (inDeafPods), so send also creates the pod's frames. It writes them to the pod's eth0, because the
// tap refuses incoming frames whose source is the pod's address.
func send(args []string) error {
	f := flag.NewFlagSet("send", flag.ContinueOnError)
	flows := f.Int("flows", 5000, "number of connections")
	count := f.Int("count", 1_000_000, "number of frames")
	row := f.Int("row", 1, "how many frames of one connection come in a row")
	sent := f.Int("sent", 0, "how many frames of each connection an earlier run has sent")
	rate := f.Int("rate", 0, "frames a second; 0: as fast as possible")
	whole := f.Bool("whole", false, "complete connections with TLS handshakes, instead of -count frames")
	first := f.Int("first", 0, "number of the first complete connection")
	open := f.Bool("open", false, "do not close the connections")
	pod := f.String("pod", "", "network namespace of the pod, for the frames that it sends")
	half := f.Bool("half", false, "connections whose client stops within a long ClientHello")
	if err := f.Parse(args); err != nil {
		return err
	}
	s, err := newSocket("eth0")
	if err != nil {
		return err
	}
	defer unix.Close(s.fd)
	own := s
	if *pod != "" {
		if own, err = socketIn("/run/netns/"+*pod, "eth0"); err != nil {
			return err
		}
		defer unix.Close(own.fd)
	}

	next := flood(*flows, *count, *row, *sent)
	switch {
	case *half:
		next = interleave(*first, *flows, []*connection{{talk: halfHello(), open: true}})
	case *whole:
		if next, err = handshakes(*first, *flows, *open); err != nil {
			return err
		}
	}

	out, err := ends{s, own}.sendAll(next, *rate)
	if err != nil {
		return err
	}
	if *whole || *half {
		out.Connections = *flows
	}
	return json.NewEncoder(os.Stdout).Encode(out)
}

// floodBytes is the size of a flooded frame. Its TCP payload is one TLS record.
const floodBytes = 120

const (
	// exchanged is the number of frames that client and server send alternately at the start of each flooded
	// connection. So many frames let the tap recognize TLS mid-stream.
	exchanged = 8
	// ackInterval is the distance between acknowledgements by the pod. After the first exchanged frames, every
	// ackInterval-th frame is an acknowledgement such as the pod's kernel would send. All others are the client's.
	ackInterval = 16
)

// floodFrames counts the first n frames of a connection: client is the number of the client's frames, server the
// number of the pod's frames with data. fromPod reports whether the next frame is the pod's.
func floodFrames(n int) (client, server int, fromPod bool) {
	if n < exchanged {
		return (n + 1) / 2, n / 2, n%2 == 1
	}
	later := n - exchanged
	return exchanged/2 + later - later/ackInterval, exchanged / 2, later%ackInterval == ackInterval-1
}

// flood returns a source of count frames. They have floodBytes each, apart from the pod's acknowledgements, which are
// shorter. The source takes the connections in turn and sends row frames of each. Each connection is in the middle of a
// TLS stream: an earlier source has sent its first frames. sent is the number of these frames.
func flood(flows, count, row, sent int) source {
	random := rand.New(rand.NewPCG(5, 6))
	payload := make([]byte, floodBytes-14-20-32)
	for i := range payload {
		payload[i] = byte(random.Uint32())
	}
	copy(payload, []byte{23, 3, 3, 0, byte(len(payload) - 5)})
	server := netip.AddrPortFrom(netip.MustParseAddr(podIP), 8443)
	before := make([]int, flows) // number of frames that each connection has sent
	for i := range before {
		before[i] = sent
	}
	n := 0
	return func(b []byte) []byte {
		if n == count {
			return b
		}
		i := n / row % flows
		client, answers, fromPod := floodFrames(before[i])
		s := segment{
			from: floodClient(i), to: server, seq: 1 + uint32(client*len(payload)), ack: 1 + uint32(answers*len(payload)),
			flags: ack | psh, id: uint16(n), stamp: uint32(n), data: payload,
		}
		if fromPod {
			s.from, s.to, s.seq, s.ack = s.to, s.from, s.ack, s.seq
			if before[i] >= exchanged {
				s.flags, s.data = ack, nil
			}
		}
		before[i]++
		n++
		return s.append(b)
	}
}

// floodClient returns the address of the i-th client.
func floodClient(i int) netip.AddrPort {
	return netip.AddrPortFrom(peer(i%mixPeers), uint16(1024+i/mixPeers%60000))
}

// handshakeKinds is the number of different conversations that complete connections repeat.
const handshakeKinds = 50

// handshakes returns a source of count complete connections to the pod, with one answer of 500 bytes each. They use TLS
// 1.3 or 1.2, and some of them mutual TLS. first is the number of the first connection; each connection's number
// selects its client. If open is true, the connections are not closed.
func handshakes(first, count int, open bool) (source, error) {
	random := rand.New(rand.NewPCG(3, 4))
	t, err := newTalker(random)
	if err != nil {
		return nil, err
	}
	talks := make([]*connection, handshakeKinds)
	for i := range talks {
		talk, err := t.talk(kinds[i%4], []int{500})
		if err != nil {
			return nil, err
		}
		talks[i] = &connection{talk: talk, open: open}
	}
	return interleave(first, count, talks), nil
}

// halfHello returns a conversation of a client that stops within its ClientHello.
func halfHello() *capturetest.Conversation {
	hello := append([]byte{22, 3, 1, 0x40, 0, 1, 0, 0x3f, 0xfc, 3, 3}, make([]byte, 15<<10)...)
	return &capturetest.Conversation{Chunks: []capturetest.Chunk{{Data: hello}}}
}

// interleave returns a source of count connections to the pod; 16 of them run at the same time. They repeat the
// conversations in talks, in turn.
func interleave(first, count int, talks []*connection) source {
	random := rand.New(rand.NewPCG(5, 6))
	var now []*connection
	next := first
	start := func() *connection {
		c := *talks[next%len(talks)]
		c.client, c.server = floodClient(next), netip.AddrPortFrom(netip.MustParseAddr(podIP), 8443)
		c.seq = [2]uint32{random.Uint32(), random.Uint32()}
		next++
		return &c
	}
	turn := 0
	return func(b []byte) []byte {
		for len(now) < 16 && next < first+count {
			now = append(now, start())
		}
		if len(now) == 0 {
			return b
		}
		turn = (turn + 1) % len(now)
		c := now[turn]
		b = c.frame(b)
		if c.done {
			now[turn] = now[len(now)-1]
			now = now[:len(now)-1]
		}
		return b
	}
}

// socket is a packet socket that only sends.
type socket struct{ fd int }

// newSocket opens a socket on an interface of the current network namespace.
func newSocket(name string) (socket, error) {
	i, err := net.InterfaceByName(name)
	if err != nil {
		return socket{}, err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return socket{}, err
	}
	return socket{fd}, unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: i.Index})
}

// socketIn opens a socket on an interface of another network namespace, which is given by its path.
func socketIn(namespace, name string) (s socket, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var files [2]*os.File
	for i, path := range []string{namespace, "/proc/thread-self/ns/net"} {
		if files[i], err = os.Open(path); err != nil {
			return s, err
		}
		defer files[i].Close()
	}
	if err := unix.Setns(int(files[0].Fd()), unix.CLONE_NEWNET); err != nil {
		return s, err
	}
	s, err = newSocket(name)
	return s, errors.Join(err, unix.Setns(int(files[1].Fd()), unix.CLONE_NEWNET))
}

// ends are the sockets that send for the peer and for the pod.
type ends struct{ peer, pod socket }

// of returns the socket that sends a frame, by the frame's source address.
func (e ends) of(frame []byte) socket {
	if [4]byte(frame[26:]) == ownAddress {
		return e.pod
	}
	return e.peer
}

var ownAddress = netip.MustParseAddr(podIP).As4()

// batch is the number of frames that are prepared for sendmmsg(2) together.
const batch = 64

// message is struct mmsghdr (sendmmsg(2)).
type message struct {
	header unix.Msghdr
	length uint32
	_      [4]byte
}

// sendAll sends all frames of next, at most rate a second (0: as fast as possible).
func (e ends) sendAll(next source, rate int) (sent, error) {
	linkAddress, err := net.ParseMAC(podMAC)
	if err != nil {
		return sent{}, err
	}
	var out sent
	var frames [batch][]byte
	var vectors [batch]unix.Iovec
	var messages [batch]message
	began, cpu := time.Now(), ownCPU()
	for {
		n := 0
		for ; n < batch; n++ {
			frames[n] = next(frames[n][:0])
			if len(frames[n]) == 0 {
				break
			}
			copy(frames[n], linkAddress)
			vectors[n].Base, vectors[n].Len = &frames[n][0], uint64(len(frames[n]))
			messages[n].header.Iov, messages[n].header.Iovlen = &vectors[n], 1
		}
		if n == 0 {
			break
		}

		for from := 0; from < n; {
			s, to := e.of(frames[from]), from+1
			for to < n && e.of(frames[to]) == s {
				to++
			}
			if err := s.sendBatch(messages[from:to]); err != nil {
				return out, err
			}
			from = to
		}

		out.Packets += n
		if rate > 0 {
			due := began.Add(time.Duration(float64(out.Packets) / float64(rate) * float64(time.Second)))
			time.Sleep(time.Until(due))
		}
	}
	out.Seconds, out.CPU = time.Since(began).Seconds(), (ownCPU() - cpu).Seconds()
	return out, nil
}

// sendBatch sends all messages. It retries while the kernel's buffers are full.
func (s socket) sendBatch(m []message) error {
	for len(m) > 0 {
		n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&m[0])), uintptr(len(m)), 0, 0, 0)
		switch {
		case errno == 0:
			m = m[n:]
		case errors.Is(errno, unix.EINTR), errors.Is(errno, unix.ENOBUFS), errors.Is(errno, unix.EAGAIN):
		default:
			return fmt.Errorf("sendmmsg: %w", errno)
		}
	}
	return nil
}

// ownCPU returns the CPU time of this process so far.
func ownCPU() time.Duration {
	var u unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// sender runs the role send in the peer's namespace and returns its result.
func (b *bench) sender(n *pods, args ...string) (sent, error) {
	var out sent
	text, err := run(n.peer, append([]string{b.self, "send", "-pod", n.pod}, args...)...)
	if err == nil {
		err = json.Unmarshal([]byte(text), &out)
	}
	return out, err
}

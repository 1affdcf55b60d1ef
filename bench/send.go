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

// sent is what the sender prints: how much it sent and what that took, which is the
// sender's own work and all that the kernel did on its behalf, the tap's share too.
type sent struct {
	Packets     int
	Connections int
	Seconds     float64
	CPU         float64 // seconds
}

// source makes the frames that are sent, one after the other: it appends the next one,
// and nothing when there are no more.
type source func(b []byte) []byte

// send is the role that floods: frames go out of eth0 by a packet socket, to the pod, which
// is deaf (inDeafPods), so that its kernel does not answer. What the pod is to have said
// goes out of the pod's own eth0, or the tap would refuse it.
func send(args []string) error {
	f := flag.NewFlagSet("send", flag.ContinueOnError)
	flows := f.Int("flows", 5000, "connections that the frames belong to")
	count := f.Int("count", 1_000_000, "frames")
	row := f.Int("row", 1, "frames of a connection in a row")
	sent := f.Int("sent", 0, "frames of each connection that were sent before")
	rate := f.Int("rate", 0, "frames a second; 0: as fast as it goes")
	whole := f.Bool("whole", false, "whole connections instead, with TLS handshakes")
	first := f.Int("first", 0, "number of the first whole connection")
	open := f.Bool("open", false, "do not close them")
	pod := f.String("pod", "", "network namespace of the pod")
	half := f.Bool("half", false, "the clients stop in the middle of a long first message")
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
		next = begun(*first, *flows, []*connection{{talk: halfHello(), open: true}})
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

// floodBytes is the size of a flooded frame; what TCP carries in it is a record of TLS.
const floodBytes = 120

// answered is how many of the first frames of each connection the ends take turns with. By
// then it is known for the middle of a stream of TLS. All that follow are the client's.
const answered = 8

// flood makes frames of 120 bytes, some in a row for each of the connections in turn: the
// middle of streams of TLS, in order, behind those that were sent before.
func flood(flows, count, row, sent int) source {
	random := rand.New(rand.NewPCG(5, 6))
	payload := make([]byte, floodBytes-14-20-32)
	for i := range payload {
		payload[i] = byte(random.Uint32())
	}
	copy(payload, []byte{23, 3, 3, 0, byte(len(payload) - 5)})
	server := netip.AddrPortFrom(netip.MustParseAddr(podIP), 8443)
	before := make([]int, flows) // frames of a connection
	for i := range before {
		before[i] = sent
	}
	n := 0
	return func(b []byte) []byte {
		if n == count {
			return b
		}
		i := n / row % flows
		answers := uint32(min(before[i], answered) / 2 * len(payload))
		asks := uint32(before[i]*len(payload)) - answers
		s := segment{from: floodClient(i), to: server, seq: 1 + asks, ack: 1 + answers, flags: ack | psh, id: uint16(n), stamp: uint32(n), data: payload}
		if before[i] < answered && before[i]%2 == 1 {
			s.from, s.to, s.seq, s.ack = s.to, s.from, s.ack, s.seq
		}
		before[i]++
		n++
		return s.append(b)
	}
}

// floodClient is the i-th client: peers take turns.
func floodClient(i int) netip.AddrPort {
	return netip.AddrPortFrom(peer(i%mixPeers), uint16(1024+i/mixPeers%60000))
}

// kept is how many different conversations whole connections are made of.
const kept = 50

// handshakes makes whole connections to the pod: TLS 1.3 and 1.2, mutual and not, with
// one small answer.
func handshakes(first, count int, open bool) (source, error) {
	random := rand.New(rand.NewPCG(3, 4))
	t, err := newTalker(random)
	if err != nil {
		return nil, err
	}
	talks := make([]*connection, kept)
	for i := range talks {
		talk, err := t.talk(kinds[i%4], []int{500})
		if err != nil {
			return nil, err
		}
		talks[i] = &connection{talk: talk, open: open}
	}
	return begun(first, count, talks), nil
}

// halfHello is what a client says that stops before its ClientHello is whole.
func halfHello() *capturetest.Conversation {
	hello := append([]byte{22, 3, 1, 0x40, 0, 1, 0, 0x3f, 0xfc, 3, 3}, make([]byte, 15<<10)...)
	return &capturetest.Conversation{Chunks: []capturetest.Chunk{{Data: hello}}}
}

// begun makes connections to the pod, sixteen at a time, that say in turn what some say.
func begun(first, count int, talks []*connection) source {
	random := rand.New(rand.NewPCG(5, 6))
	var now []*connection
	next := first
	begin := func() *connection {
		c := *talks[next%len(talks)]
		c.client, c.server = floodClient(next), netip.AddrPortFrom(netip.MustParseAddr(podIP), 8443)
		c.seq = [2]uint32{random.Uint32(), random.Uint32()}
		next++
		return &c
	}
	turn := 0
	return func(b []byte) []byte {
		for len(now) < 16 && next < first+count {
			now = append(now, begin())
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

// socketIn makes a socket in a network namespace.
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

// ends are the sockets of the peer and of the pod.
type ends struct{ peer, pod socket }

// of returns the socket that a frame leaves by.
func (e ends) of(frame []byte) socket {
	if [4]byte(frame[26:]) == ownAddress {
		return e.pod
	}
	return e.peer
}

var ownAddress = netip.MustParseAddr(podIP).As4()

// batch is how many frames go into one call.
const batch = 64

// message is struct mmsghdr.
type message struct {
	header unix.Msghdr
	length uint32
	_      [4]byte
}

// sendAll sends what the source makes, at a rate.
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

// ownCPU is what this process has taken so far.
func ownCPU() time.Duration {
	var u unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// sender starts the role in a namespace and returns what it sent.
func (b *bench) sender(n *pods, args ...string) (sent, error) {
	var out sent
	text, err := run(n.peer, append([]string{b.self, "send", "-pod", n.pod}, args...)...)
	if err == nil {
		err = json.Unmarshal([]byte(text), &out)
	}
	return out, err
}

package afpacket

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"testing"
	"time"
)

// TestDrops: while nobody reads, packets that do not fit into the ring are dropped and counted. The
// packets in the ring are read later. Every packet is accounted for.
func TestDrops(t *testing.T) {
	n := loopback(t)
	from, to := n.datagrams(t, "udp4", "127.0.0.1"), n.datagrams(t, "udp4", "127.0.0.1")
	h := n.open(t, Config{Interface: "lo", Filter: toPort(t, port(to)), RingBytes: 256 << 10, BlockBytes: 64 << 10})
	stuck, resume := make(chan struct{}), make(chan struct{})
	var once sync.Once
	var seen uint64
	done := make(chan error)
	go func() {
		done <- h.Run(func(b *Block) {
			once.Do(func() { close(stuck); <-resume })
			for p, ok := b.Next(); ok; p, ok = b.Next() {
				if bytes.HasSuffix(p.Data, []byte("datagram")) {
					seen++
				}
			}
		})
	}()
	stop := flood(from, to, []byte("datagram"))
	<-stuck
	eventually(t, "drops", func() bool { return stats(t, h).Drops > 1000 })
	sent := stop()
	close(resume)
	h.Close()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	s := stats(t, h)
	if s.Packets != uint64(sent) || seen+s.Drops != s.Packets || seen == 0 || s.Freezes == 0 {
		t.Errorf("sent %d, seen %d, %+v: want all of them counted, and each seen or dropped", sent, seen, s)
	}
	if again := stats(t, h); again != s {
		t.Errorf("then %+v: the totals are final", again)
	}
}

// TestFilteredFromTheFirstPacket: a socket is opened at any moment during traffic. It receives no
// packet that the filter refuses. The kernel's counter would include such a packet even before
// there is a ring.
func TestFilteredFromTheFirstPacket(t *testing.T) {
	n := loopback(t)
	from := n.datagrams(t, "udp4", "127.0.0.1")
	wanted, other := n.datagrams(t, "udp4", "127.0.0.1"), n.datagrams(t, "udp4", "127.0.0.1")
	defer flood(from, other, []byte("other"))()
	filter := toPort(t, port(wanted))
	for range 50 {
		h := n.open(t, Config{Interface: "lo", Filter: filter, RingBytes: 256 << 10})
		if err := h.Close(); err != nil {
			t.Fatal(err)
		}
		if s := stats(t, h); s.Packets != 0 {
			t.Fatalf("%d packets came in before the filter", s.Packets)
		}
	}
	defer flood(from, wanted, []byte("wanted"))()
	filtered := n.capture(t, Config{Interface: "lo", Filter: filter})
	open := n.capture(t, Config{Interface: "lo"})
	eventually(t, "a packet of each kind, without the filter", func() bool {
		return len(open.with([]byte("wanted"))) > 0 && len(open.with([]byte("other"))) > 0
	})
	packets := filtered.stop(t)
	if w := filtered.with([]byte("wanted")); len(w) == 0 || len(w) != len(packets) {
		t.Errorf("%d packets, %d of them those that the filter takes", len(packets), len(w))
	}
}

// TestCloseUnderLoad: Close ends Run even if packets keep arriving faster than the callback
// processes them. After Close the callback gets only the packets in the ring.
func TestCloseUnderLoad(t *testing.T) {
	n := loopback(t)
	from, to := n.datagrams(t, "udp4", "127.0.0.1"), n.datagrams(t, "udp4", "127.0.0.1")
	defer flood(from, to, make([]byte, 1000))()
	const blocks = 4
	for _, pause := range []time.Duration{0, 5 * time.Millisecond} {
		h := n.open(t, Config{Interface: "lo", RingBytes: blocks * 16 << 10, BlockBytes: 16 << 10})
		done := make(chan error, 1)
		var seen uint64
		var got, after int
		read := make(chan struct{})
		go func() {
			done <- h.Run(func(b *Block) {
				if h.detached { // Run has set it, on this goroutine
					after++
				}
				time.Sleep(pause)
				for _, ok := b.Next(); ok; _, ok = b.Next() {
					seen++
				}
				if got++; got == 10*blocks {
					close(read)
				}
			})
		}()
		<-read
		if err := errors.Join(h.Close(), h.Close()); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
		case <-time.After(patience):
			t.Fatalf("Run did not return after Close: %+v", stats(t, h))
		}
		if after > blocks {
			t.Errorf("%d blocks came after the arrival of packets was stopped, from a ring of %d", after, blocks)
		}
		if s := stats(t, h); seen+s.Drops != s.Packets {
			t.Errorf("seen %d, %+v: each is seen or dropped", seen, s)
		}
	}
}

// TestCloseFromTheCallback: a callback may close the handle that calls it.
func TestCloseFromTheCallback(t *testing.T) {
	n := loopback(t)
	from, to := n.datagrams(t, "udp4", "127.0.0.1"), n.datagrams(t, "udp4", "127.0.0.1")
	h := n.open(t, Config{Interface: "lo"})
	send(t, from, to, []byte("one"))
	if err := h.Run(func(*Block) { h.Close() }); err != nil {
		t.Error(err)
	}
}

// TestDrained: packets that arrived before Close are passed on. This holds even if their block is
// not full and its retire timeout has not passed.
func TestDrained(t *testing.T) {
	l, r := pair(t)
	client, server := l.datagrams(t, "udp4", left["udp4"]), r.datagrams(t, "udp4", right["udp4"])
	for _, count := range []int{1, 10, 3000} {
		undropped(t, func(t *testing.T) uint64 {
			c := r.capture(t, Config{Interface: "right0", Retire: time.Second, Filter: toPort(t, port(server))})
			payload := bytes.Repeat([]byte{0}, 200)
			for i := range count {
				binary.BigEndian.PutUint32(payload, uint32(i))
				send(t, client, server, payload)
			}
			packets, s := c.stop(t), stats(t, c.Handle)
			if (s.Drops == 0 || count < 100) && len(packets) != count || s.Packets != uint64(count) {
				t.Errorf("seen %d of %d packets that were there before Close: %+v", len(packets), count, s)
			}
			return s.Drops
		})
	}
}

// TestNothingToDrain: after Close, Run does not wait if the ring is empty.
func TestNothingToDrain(t *testing.T) {
	n := loopback(t)
	const most = 5 // attempts: on a busy machine some end late, but all of them would if Run waited for the timeout
	for range most {
		c := n.capture(t, Config{Interface: "lo", Retire: maxRetire})
		start := time.Now()
		c.stop(t)
		took := time.Since(start)
		if took < maxRetire/2 {
			return
		}
		t.Logf("Run returned %v after Close, of a retire timeout of %v: again", took, maxRetire)
	}
	t.Errorf("Run returned late after Close %d times of %d", most, most)
}

// TestNeverRun: if Run was never called, Close releases everything and counts the packets in the
// ring as dropped.
func TestNeverRun(t *testing.T) {
	n := loopback(t)
	from, to := n.datagrams(t, "udp4", "127.0.0.1"), n.datagrams(t, "udp4", "127.0.0.1")
	h := n.open(t, Config{Interface: "lo", Filter: toPort(t, port(to))})
	send(t, from, to, []byte("one"))
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	if s := stats(t, h); s.Packets != 1 || s.Drops != 1 {
		t.Errorf("%+v", s)
	}
	if err := h.Run(func(*Block) { t.Error("a block after Close") }); err != nil {
		t.Error(err)
	}
}

func TestRunTwice(t *testing.T) {
	n := loopback(t)
	c := n.capture(t, Config{Interface: "lo"})
	if err := c.Run(func(*Block) {}); !errors.Is(err, errRun) {
		t.Errorf("the second Run returned %v", err)
	}
}

// TestDownAndUp: a handle continues after its interface was down, even if it was opened while the
// interface was down. It also continues after a change of the interface's name and MTU.
func TestDownAndUp(t *testing.T) {
	l, r := pair(t)
	r.ip(t, "link set right0 down")
	c := r.capture(t, Config{Interface: "right0"})
	if !stats(t, c.Handle).Down {
		t.Error("opened on an interface that is down, which Stats does not say")
	}
	client, server := l.datagrams(t, "udp4", left["udp4"]), r.datagrams(t, "udp4", "0.0.0.0")
	server.SetReadDeadline(time.Time{})
	for i, change := range []string{"", "", "link set right0 name renamed", "link set renamed mtu 9000"} {
		name := "right0"
		if i > 2 {
			name = "renamed"
		}
		if i > 0 {
			r.ip(t, fmt.Sprintf("link set %s down", name))
			eventually(t, "seen down", func() bool { return stats(t, c.Handle).Down })
		}
		if change != "" {
			r.ip(t, change)
			name = "renamed"
		}
		r.ip(t, fmt.Sprintf("link set %s up", name))
		eventually(t, "seen up", func() bool { return !stats(t, c.Handle).Down })
		payload := fmt.Appendf(nil, "up for the time %d", i)
		address := &net.UDPAddr{IP: net.ParseIP(right["udp4"]), Port: int(port(server))}
		eventually(t, "a packet", func() bool {
			_, err := client.WriteTo(payload, address) // fails until ARP has resolved the address again
			return err == nil && len(c.with(payload)) > 0
		})
		if s := stats(t, c.Handle); s.Downs != uint64(i+1) {
			t.Errorf("%+v, want it down %d times", s, i+1)
		}
	}
	c.stop(t)
}

// TestGone: when the interface is deleted, Run passes on the packets in the ring and returns
// ErrNoInterface.
func TestGone(t *testing.T) {
	for name, command := range map[string]string{
		"deleted": "link del right0",
		"moved":   "link set right0 netns %s",
	} {
		t.Run(name, func(t *testing.T) {
			l, r := pair(t)
			if name == "moved" {
				command = fmt.Sprintf(command, newNamespace(t).path())
			}
			client, server := l.datagrams(t, "udp4", left["udp4"]), r.datagrams(t, "udp4", right["udp4"])
			c := r.capture(t, Config{Interface: "right0", Retire: 500 * time.Millisecond})
			payload := []byte("the last one")
			send(t, client, server, payload)
			r.ip(t, command)
			err := c.join(t)
			want := "capture on right0: receive: no such interface: it was deleted or moved: open it again when it exists"
			if !errors.Is(err, ErrNoInterface) || err.Error() != want {
				t.Errorf("Run returned %v, want %s", err, want)
			}
			if len(c.with(payload)) != 1 {
				t.Error("the last packet was not passed on")
			}
			if s := stats(t, c.Handle); !s.Down || s.Drops != 0 {
				t.Errorf("%+v", s)
			}
			if err := c.Close(); err != nil {
				t.Error(err)
			}
			r.do(t, func() error {
				if _, err := Open(Config{Interface: "right0"}); !errors.Is(err, ErrNoInterface) {
					return fmt.Errorf("Open returned %w", err)
				}
				return nil
			})
		})
	}
}

// TestSeveral: each of several handles gets all packets that pass its own filter.
func TestSeveral(t *testing.T) {
	l, r := pair(t)
	client, server := l.datagrams(t, "udp4", left["udp4"]), r.datagrams(t, "udp4", right["udp4"])
	inside, within := r.datagrams(t, "udp4", "127.0.0.1"), r.datagrams(t, "udp4", "127.0.0.1")
	handles := map[string]*capture{
		"first":    r.capture(t, Config{Interface: "right0"}),
		"second":   r.capture(t, Config{Interface: "right0", RingBytes: 1 << 20}),
		"filtered": r.capture(t, Config{Interface: "right0", Filter: toPort(t, port(server)+1)}),
		"lo":       r.capture(t, Config{Interface: "lo"}),
	}
	outer, inner := []byte("over the cable"), []byte("inside of the host")
	send(t, client, server, outer)
	send(t, inside, within, inner)
	for name, c := range handles {
		c.stop(t)
		wantOuter, wantInner := 1, 0
		switch name {
		case "filtered":
			wantOuter = 0
		case "lo":
			wantOuter, wantInner = 0, 1
		}
		if o, i := len(c.with(outer)), len(c.with(inner)); o != wantOuter || i != wantInner {
			t.Errorf("%s: seen %d and %d, want %d and %d", name, o, i, wantOuter, wantInner)
		}
	}
}

// TestGivesBack: after a handle is closed, no file descriptor and no mapping of it remain.
func TestGivesBack(t *testing.T) {
	n := loopback(t)
	count := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	mapped := func() int {
		b, err := os.ReadFile("/proc/self/maps")
		if err != nil {
			t.Fatal(err)
		}
		return bytes.Count(b, []byte("socket:["))
	}
	cycle := func(c Config) {
		t.Helper()
		n.do(t, func() error {
			h, err := Open(c)
			if err == nil {
				err = h.Close()
			}
			if (err != nil) != (len(c.Filter) > 0) {
				return fmt.Errorf("Open and Close: %w", err)
			}
			return nil
		})
	}
	refused := toPort(t, 1)[:3] // the program does not end in a return, so the kernel refuses it
	cycle(Config{Interface: "lo"})
	before := count()
	for range 5 {
		cycle(Config{Interface: "lo"})
		cycle(Config{Interface: "lo", Filter: refused})
		n.capture(t, Config{Interface: "lo"}).stop(t)
	}
	if after := count(); after > before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
	if m := mapped(); m != 0 {
		t.Errorf("%d rings are still mapped", m)
	}
}

// TestStatsAtOnce: Stats may be called from several goroutines while packets arrive and the handle
// is closed.
func TestStatsAtOnce(t *testing.T) {
	n := loopback(t)
	from, to := n.datagrams(t, "udp4", "127.0.0.1"), n.datagrams(t, "udp4", "127.0.0.1")
	c := n.capture(t, Config{Interface: "lo", Filter: toPort(t, port(to))})
	stop := flood(from, to, []byte("datagram"))
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			var last Stats
			for range 500 {
				s, err := c.Stats()
				if err != nil || s.Packets < last.Packets || s.Drops < last.Drops {
					t.Errorf("%+v after %+v, %v", s, last, err)
					return
				}
				last = s
			}
		})
	}
	eventually(t, "packets", func() bool { return len(c.seen()) > 100 })
	c.Close()
	wg.Wait()
	sent := stop()
	if err := c.join(t); err != nil {
		t.Fatal(err)
	}
	if s := stats(t, c.Handle); uint64(len(c.seen()))+s.Drops != s.Packets || s.Packets > uint64(sent) {
		t.Errorf("sent %d, seen %d, %+v", sent, len(c.seen()), s)
	}
}

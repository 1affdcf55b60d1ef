//go:build linux

package main

import (
	"bufio"
	"cmp"
	"container/heap"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"time"
)

// The mixed capture has traffic between a pod and its peers, with TLS by crypto/tls. Sizes, times and ports come from
// a generator with a fixed seed, but keys and TLS randoms do not. So two captures have the same packets, apart from
// random bytes in them.
const (
	mixConnections = 12000
	mixBulk        = 16       // connections that transfer bulkBytes
	bulkBytes      = 16 << 20 // bytes of one transfer
	mixPeers       = 50
	mixAtATime     = 200 // the most connections that are open at the same time
	mixVersion     = 1   // increment it when the traffic changes: a capture of another version is not used
)

// mixed returns the path of the mixed capture in dir. It creates the file if it does not exist.
func mixed(dir string) (string, error) {
	path := filepath.Join(dir, fmt.Sprintf("mixed-%d.pcap", mixVersion))
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	temporary := path + ".part"
	f, err := os.Create(temporary)
	if err != nil {
		return "", err
	}
	defer f.Close()
	w := bufio.NewWriterSize(f, 1<<20)
	n, err := generate(w)
	err = cmp.Or(err, w.Flush(), f.Close())
	if err != nil {
		return "", errors.Join(err, os.Remove(temporary))
	}
	progress("made %s: %d packets, %d connections", path, n, mixConnections)
	return path, os.Rename(temporary, path)
}

// generate writes the mixed capture to w and returns its number of packets.
func generate(w io.Writer) (packets int, err error) {
	random := rand.New(rand.NewPCG(1, 2))
	talk, err := newTalker(random)
	if err != nil {
		return 0, err
	}
	out := pcapWriter{w: w}
	out.header()
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro()
	var open schedule
	for i := range mixConnections {
		c, err := talk.connection(i)
		if err != nil {
			return 0, err
		}
		c.at = start + int64(i)*10_000 + random.Int64N(10_000) // one connection every 10 ms
		heap.Push(&open, c)
		for len(open) >= mixAtATime || len(open) > 0 && open[0].at < c.at {
			out.next(&open)
		}
	}
	for len(open) > 0 {
		out.next(&open)
	}
	return out.packets, out.err
}

// schedule is a heap of the open connections, by the time of their next packet.
type schedule []*connection

func (s schedule) Len() int           { return len(s) }
func (s schedule) Less(i, j int) bool { return s[i].at < s[j].at }
func (s schedule) Swap(i, j int)      { s[i], s[j] = s[j], s[i] }
func (s *schedule) Push(x any)        { *s = append(*s, x.(*connection)) }
func (s *schedule) Pop() any {
	old := *s
	last := old[len(old)-1]
	*s = old[:len(old)-1]
	return last
}

// pcapWriter writes a pcap file of Ethernet frames with times in microseconds, as tcpdump does. err is the first
// error that a write returned.
type pcapWriter struct {
	w       io.Writer
	buf     []byte
	packets int
	last    int64 // time of the last packet, µs
	err     error
}

func (p *pcapWriter) header() {
	b := binary.LittleEndian.AppendUint32(nil, 0xa1b2c3d4)
	b = append(b, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	b = binary.LittleEndian.AppendUint32(b, 262144)
	b = binary.LittleEndian.AppendUint32(b, 1)
	_, p.err = p.w.Write(b)
}

// next writes the earliest packet of the connections in open. After the last packet of a connection, next removes
// the connection from open.
func (p *pcapWriter) next(open *schedule) {
	c := (*open)[0]
	p.last = max(p.last, c.at)

	b := append(p.buf[:0], make([]byte, 16)...)
	b = c.frame(b)
	binary.LittleEndian.PutUint32(b, uint32(p.last/1e6))
	binary.LittleEndian.PutUint32(b[4:], uint32(p.last%1e6))
	binary.LittleEndian.PutUint32(b[8:], uint32(len(b)-16))
	binary.LittleEndian.PutUint32(b[12:], uint32(len(b)-16))
	p.buf = b

	if p.err == nil {
		_, p.err = p.w.Write(b)
	}
	p.packets++

	if c.done {
		heap.Pop(open)
	} else {
		heap.Fix(open, 0)
	}
}

// pod and peer are addresses in the mixed capture.
var pod = netip.MustParseAddr("10.0.0.5")

func peer(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 1, byte(i)}) }

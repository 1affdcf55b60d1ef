// Package tlslab_test scores the judgement of TLS on captures of real stacks that talked
// to each other, with truth from their own logs: see lab, which makes testdata.
package tlslab_test

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/gopacket/pcapgo"

	"github.com/meshtls-tap/meshtls-tap/internal/dissect"
	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// frame is one packet of a capture.
type frame struct {
	time int64
	data []byte
}

// load reads a capture of Ethernet frames.
func load(t testing.TB, path string) []frame {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	r, err := pcapgo.NewReader(z)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	var frames []frame
	for {
		data, info, err := r.ReadPacketData()
		if errors.Is(err, io.EOF) {
			return frames
		} else if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		frames = append(frames, frame{info.Timestamp.UnixNano(), data})
	}
}

// replay is the tap's way from packets to verdicts.
type replay struct {
	memory dissect.Memory
	judge  *verdict.Judge
	ended  []verdict.Judged
	// mutual are the connections that were called mutual at any time, and settled so.
	mutual map[uint64]bool
}

type state struct {
	session  *dissect.Session
	revision uint32
	fin, rst [2]bool
}

// judge returns what is said of the connections of a capture at their ends, in the order
// of their beginnings. A session is finished once it is settled, as the tap does it.
func judge(frames []frame) []verdict.Judged {
	r := replayed(frames)
	for i := range r.ended {
		if r.mutual[r.ended[i].ID] && r.ended[i].Verdict != verdict.MTLS {
			r.ended[i].Verdict, r.ended[i].Reasons = verdict.MTLS, append(r.ended[i].Reasons, "TEST: was settled as mtls, later taken back")
		}
	}
	return r.ended
}

// replayed judges the connections of a capture.
func replayed(frames []frame) *replay {
	r := &replay{judge: verdict.New(verdict.Config{}), mutual: map[uint64]bool{}}
	table := flow.NewTable(flow.Config{}, r)
	for i := range frames {
		table.Add(&flow.Packet{Time: frames[i].time, Data: frames[i].data, Length: len(frames[i].data), Link: flow.LinkEthernet})
	}
	table.Flush()
	slices.SortFunc(r.ended, func(a, b verdict.Judged) int { return cmp.Compare(a.ID, b.ID) })
	return r
}

// Data implements flow.Handler.
func (r *replay) Data(c *flow.Conn, s *flow.Segment) {
	x, ok := c.User.(*state)
	if !ok {
		x = &state{session: r.memory.New()}
		c.User = x
	}
	r.memory.Clock(s.Time)
	if c.Transport == 17 {
		x.session.Datagram(dissect.Side(s.Side), s.Data)
	} else {
		x.session.Data(dissect.Side(s.Side), s.Offset, s.Data, s.Ack, s.Gap)
	}
	r.look(c, x)
}

// Changed implements flow.Handler.
func (r *replay) Changed(c *flow.Conn) {
	x, ok := c.User.(*state)
	if !ok {
		return
	}
	r.memory.Clock(c.Last)
	for side, end := range [2]*flow.Endpoint{&c.Orig, &c.Resp} {
		if end.FIN && !x.fin[side] {
			x.fin[side] = true
			x.session.Closed(dissect.Side(side), false)
		}
		if end.RST && !x.rst[side] {
			x.rst[side] = true
			x.session.Closed(dissect.Side(side), true)
		}
	}
	r.look(c, x)
}

// End implements flow.Handler.
func (r *replay) End(c *flow.Conn, _ flow.EndReason) {
	var s *dissect.Session
	if x, ok := c.User.(*state); ok {
		s = x.session
	}
	r.ended = append(r.ended, r.judge.Judge(c, s, "eth0", true))
}

func (r *replay) look(c *flow.Conn, x *state) {
	if x.revision == x.session.Revision() {
		return
	}
	x.revision = x.session.Revision()
	j := r.judge.Judge(c, x.session, "eth0", false)
	if !j.Settled {
		return
	}
	if j.Verdict == verdict.MTLS {
		r.mutual[c.ID] = true
	}
	if x.session.Complete() {
		x.session.Finish()
	}
}

// row is a line of the manifest, by the names of its columns.
type row map[string]string

// manifest returns the truth of each capture, in the order of its connections.
func manifest(t testing.TB) (files []string, rows map[string][]row) {
	t.Helper()
	b, err := os.ReadFile("testdata/manifest.tsv")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
	columns := strings.Split(lines[0], "\t")
	rows = map[string][]row{}
	for _, line := range lines[1:] {
		r := row{}
		for i, value := range strings.Split(line, "\t") {
			r[columns[i]] = value
		}
		if rows[r["file"]] == nil {
			files = append(files, r["file"])
		}
		rows[r["file"]] = append(rows[r["file"]], r)
	}
	return files, rows
}

func capturePath(file string) string { return filepath.Join("testdata", filepath.FromSlash(file)) }

// tcpPayload returns where the TCP header and its payload stand in an Ethernet frame of
// IPv4, and whether it is one.
func tcpPayload(b []byte) (header, payload int, ok bool) {
	if len(b) < 54 || !bytes.Equal(b[12:14], []byte{8, 0}) || b[23] != 6 {
		return 0, 0, false
	}
	header = 14 + int(b[14]&15)*4
	if header+20 > len(b) {
		return 0, 0, false
	}
	payload = header + int(b[header+12]>>4)*4
	end := 14 + int(binary.BigEndian.Uint16(b[16:]))
	return header, payload, payload <= len(b) && end <= len(b)
}

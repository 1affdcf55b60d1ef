// Package tlslab_test scores how the tap judges TLS. The captures are from real stacks that talked to each other, and
// the truth comes from their own logs. The command in test/tlslab/lab creates testdata.
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

	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/pipeline"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
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

// judge returns the final judgements of a capture's connections. They are in the order in which the connections
// began.
func judge(frames []frame) []verdict.Judged {
	ended, mutual := replay(frames)
	for i := range ended {
		if mutual[ended[i].ID] && ended[i].Verdict != verdict.MTLS {
			ended[i].Verdict, ended[i].Reasons = verdict.MTLS, append(ended[i].Reasons, "TEST: was settled as mtls, later reverted")
		}
	}
	return ended
}

// replay judges the connections of a capture with the tap's own pipeline. mutual maps the ID of each connection to
// whether it was judged as mutual at any time.
func replay(frames []frame) (ended []verdict.Judged, mutual map[uint64]bool) {
	mutual = map[uint64]bool{}
	p := pipeline.New(pipeline.Config{Judged: func(j *verdict.Judged) {
		mutual[j.ID] = mutual[j.ID] || j.Verdict == verdict.MTLS
		if j.Ended {
			ended = append(ended, *j)
		}
	}})
	p.Do(func(l *pipeline.Locked) { l.AddInterface("eth0") })
	for i := range frames {
		p.Add(flow.Packet{Time: frames[i].time, Data: frames[i].data, Length: len(frames[i].data), Link: wire.LinkEthernet})
	}
	p.Flush()
	slices.SortFunc(ended, func(a, b verdict.Judged) int { return cmp.Compare(a.ID, b.ID) })
	return ended, mutual
}

// row is a line of the manifest, by column name.
type row map[string]string

// manifest returns the files of all captures. rows has, for each file, the truth about its connections, in order.
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

// tcpPayload returns the offsets of the TCP header and its payload in an Ethernet frame. ok is false if the frame
// does not carry TCP over IPv4, or is truncated.
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

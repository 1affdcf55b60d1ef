package buffer

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/eventually"
)

// segmentImage is a spool file with the records 0 to n-1. The records with numbers below done are done: two by the
// cursor, the others by their marks.
type segmentImage struct {
	data  []byte
	ends  []int // offset of the end of each record; ends[0] is the end of the header
	old   bool
	done  int
	total int
}

func imageOf(old bool, done, total int) segmentImage {
	m := segmentImage{old: old, done: done, total: total}
	cursor := min(done, 2)
	header, mark := segmentHeader, make([]byte, 4)
	if old {
		header, mark = oldHeader, mark[:1]
	}
	m.data = make([]byte, header)
	m.ends = []int{header}
	for n := range total {
		it := Item{Message: sample(Finding, n), Seq: uint64(n)}
		record := appendItem(nil, &it, uint32(n))
		marked := slices.Clone(mark)
		if n >= cursor && n < done {
			copy(marked, recordDone)
			if old {
				marked[0] = oldRecordDone
			}
		}
		if body := record[recordHeader:]; old {
			head := binary.BigEndian.AppendUint32(nil, uint32(len(body)))
			head = binary.BigEndian.AppendUint32(head, checksum(head, body))
			record = slices.Concat(head, marked, body)
		} else {
			copy(record[markAt:], marked)
		}

		m.data = append(m.data, record...)
		m.ends = append(m.ends, len(m.data))
	}

	copy(m.data, segmentMagic)
	at := binary.BigEndian.AppendUint64(nil, uint64(m.ends[cursor]))
	if old {
		copy(m.data, oldMagic)
	} else {
		at = binary.BigEndian.AppendUint32(at, uint32(cursor))
		counts := binary.BigEndian.AppendUint32(nil, uint32(total))
		counts = binary.BigEndian.AppendUint32(counts, 0)
		copy(m.data[countAt:], binary.BigEndian.AppendUint32(counts, crc32.Checksum(counts, castagnoli)))
	}

	copy(m.data[cursorAt:], binary.BigEndian.AppendUint32(at, crc32.Checksum(at, castagnoli)))
	return m
}

// recovered reads a file. It returns how often each record was read, by number, and how many records were
// counted as lost.
func recovered(t *testing.T, data []byte) (got map[int]int, lost int) {
	t.Helper()
	dir, err := os.MkdirTemp("", "segment")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	name := filepath.Join(dir, segmentName(finding, 1))
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	g, lost, err := openSegment(name, 1)
	if err != nil {
		t.Fatal(err)
	}
	got = map[int]int{}
	read := 0
	for at := g.cursor; at < g.size; {
		items, next := g.read(at, g.size, finding, 200) // one or two records at once
		if next <= at {
			t.Fatalf("at byte %d, then at %d", at, next)
		}
		for _, it := range items {
			var n int
			if _, err := fmt.Sscanf(it.ID, Finding+"-%d", &n); err != nil || string(it.Value) != string(sample(Finding, n).Value) {
				t.Fatalf("read %q: %q", it.ID, it.Value)
			}
			got[n]++
			read++
		}

		at = next
	}

	if read != g.left {
		t.Errorf("read %d records, expected %d", read, g.left)
	}
	g.file.Close()
	again, more, err := openSegment(name, 1)
	if err != nil || more != 0 && !g.old {
		t.Errorf("reopened: %d more records are counted as lost, error %v", more, err)
	}
	again.file.Close()
	return got, lost
}

// holds checks that reading data returns the records of m from number m.done on, except those in missing. These must
// be counted as lost.
func (m *segmentImage) holds(t *testing.T, what string, data []byte, missing ...int) {
	t.Helper()
	got, lost := recovered(t, data)
	for n := m.done; n < m.total; n++ {
		if want := !slices.Contains(missing, n); want != (got[n] > 0) {
			t.Errorf("%s: record %d was read %d times, lost %v", what, n, got[n], missing)
		}
	}
	if lost != len(missing) {
		t.Errorf("%s: %d records are counted as lost, want %d", what, lost, len(missing))
	}
}

// recordAt returns the number of the record that contains the byte at an offset. It returns -1 for
// the header.
func (m *segmentImage) recordAt(at int) int {
	for n, end := range m.ends {
		if at < end {
			return n - 1
		}
	}
	return m.total
}

// TestSegmentFlippedBits: if any byte of a file changes, all other records are delivered, and the lost one is counted.
func TestSegmentFlippedBits(t *testing.T) {
	for _, old := range []bool{false, true} {
		m := imageOf(old, 3, 5)
		record, mark, length := recordHeader, markAt, 4
		if old {
			record, mark, length = oldRecordHeader, oldRecordHeader-1, 1
		}
		for at := range m.data {
			for _, flip := range []byte{1, 0xff} {
				data := bytes.Clone(m.data)
				data[at] ^= flip
				n := m.recordAt(at)
				what := fmt.Sprintf("old %v, byte %d of record %d, flipped by %#x", old, at, n, flip)
				switch in := at - m.ends[max(0, n)]; {
				case n < 0, in >= mark && in < record && (!old || flip != oldRecordDone || n < m.done): // all records are read, some perhaps twice
					m.holds(t, what, data)
				case in >= mark && in < record: // a single flipped bit sets a mark of version 1
				case !old && in < length: // a byte of the magic: the checksum is still correct
					m.holds(t, what, data)
				case n < min(m.done, 2): // already done
					m.holds(t, what, data)
				case n < m.done: // the record was done by its mark, but is counted as lost: one too many
					if got, lost := recovered(t, data); len(got) < m.total-m.done || lost > 1 {
						t.Errorf("%s: %d records, %d lost", what, len(got), lost)
					}
				default:
					m.holds(t, what, data, n)
				}
			}
		}
	}
}

// TestSegmentTruncated: a file that is truncated at any byte shows how many records are missing.
func TestSegmentTruncated(t *testing.T) {
	m := imageOf(false, 3, 6)
	for at := segmentHeader; at < len(m.data); at++ {
		var missing []int
		for n := max(m.done, m.recordAt(at)); n < m.total; n++ {
			missing = append(missing, n)
		}
		if at >= m.ends[m.done] {
			m.holds(t, fmt.Sprint("truncated at ", at), m.data[:at], missing...)
			continue
		}
		if got, lost := recovered(t, m.data[:at]); len(got) != 0 || lost < m.total-m.done {
			t.Errorf("truncated at %d: %d records, %d lost", at, len(got), lost)
		}
	}

	old := imageOf(true, 0, 6)
	for at := oldHeader + 1; at < len(old.data); at++ {
		got, lost := recovered(t, old.data[:at])
		if n := old.recordAt(at); len(got) != n || (lost == 1) == (at == old.ends[n]) { // version 1 does not store the number of records
			t.Errorf("version 1 truncated at %d: %d records of %d, %d lost", at, len(got), n, lost)
		}
	}

	for at := range segmentHeader { // an incomplete header never causes a panic
		recovered(t, m.data[:at])
	}
}

// TestSegmentPages: if a page is zeroed or has another page's bytes, only the records in it are lost.
func TestSegmentPages(t *testing.T) {
	const page, records = 512, 60
	m := imageOf(false, 0, records)
	within := func(from, to int) (out []int) {
		for n := range records {
			if m.ends[n] < to && m.ends[n+1] > from {
				out = append(out, n)
			}
		}
		return out
	}

	for at := page; at+page <= len(m.data); at += page {
		for name, fill := range map[string]byte{"zeros": 0, "ones": 0xff} {
			data := bytes.Clone(m.data)
			copy(data[at:at+page], bytes.Repeat([]byte{fill}, page))
			m.holds(t, fmt.Sprint(name, " at ", at), data, within(at, at+page)...)
		}
		for from := 0; from+page <= len(m.data); from += 5 * page {
			data := bytes.Clone(m.data)
			copy(data[at:at+page], m.data[from:from+page])
			if at != from {
				m.holds(t, fmt.Sprint("page of ", from, " at ", at), data, within(at, at+page)...)
			}
		}

		again := slices.Concat(m.data[:at], m.data[at-page:at], m.data[at:]) // the file has one page twice
		if got, lost := recovered(t, again); lost != records-len(got) {
			t.Errorf("page twice at %d: %d records, %d lost", at, len(got), lost)
		}
	}

	got, lost := recovered(t, make([]byte, 4*page))
	if len(got) != 0 || lost != 1 {
		t.Errorf("nothing but zeros: %d records, %d lost", len(got), lost)
	}
}

// TestSpoolFlippedBit reproduces a report: in a file with 319 records, one bit at a quarter of the file was flipped.
// All records except one are delivered.
func TestSpoolFlippedBit(t *testing.T) {
	const records = 319
	dir := t.TempDir()
	b := openSpool(t, SpoolConfig{Dir: dir})
	for n := range records {
		b.Put(sample(Finding, n))
	}
	onDisk(t, b, records)
	closeSpool(b)
	files, _ := filepath.Glob(filepath.Join(dir, "*.spool"))
	flip := func(at int64) {
		f, err := os.OpenFile(files[len(files)-1], os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		info, _ := f.Stat()
		one := make([]byte, 1)
		f.ReadAt(one, at*info.Size()/4)
		one[0] ^= 4
		f.WriteAt(one, at*info.Size()/4)
	}

	flip(1)
	b = openSpool(t, SpoolConfig{Dir: dir})
	onDisk(t, b, records-1)
	flip(3) // another bit flips while the file is in use
	if got := drain(b); len(got) != records-2 {
		t.Errorf("%d records were read", len(got))
	}
	if s := b.Stats(); s.Dropped[Finding] != 2 || s.Reasons[dropSpoolDamaged] != 2 || s.Queued != 0 {
		t.Errorf("%+v", s)
	}
}

// TestSpoolOldFile: records in a file of an earlier version of the tap are delivered. New records are not appended
// to this file.
func TestSpoolOldFile(t *testing.T) {
	dir := t.TempDir()
	m := imageOf(true, 3, 6)
	if err := os.WriteFile(filepath.Join(dir, segmentName(finding, 7)), m.data, 0o600); err != nil {
		t.Fatal(err)
	}
	b := openSpool(t, SpoolConfig{Dir: dir})
	onDisk(t, b, 3)
	b.Put(sample(Finding, 6))
	onDisk(t, b, 4)
	first := b.Take(All, 1, 1<<20)
	b.Ack(first)
	closeSpool(b)
	b = openSpool(t, SpoolConfig{Dir: dir})
	onDisk(t, b, 3)
	if got := drain(b); !slices.Equal(got, []string{Finding + "-4", Finding + "-5", Finding + "-6"}) || first[0].ID != Finding+"-3" {
		t.Errorf("%v, then %v", first[0].ID, got)
	}
	if s := b.Stats(); sum(s.Dropped) != 0 {
		t.Errorf("%+v", s)
	}
}

// TestSpoolRemoved: if the folder is removed while the tap runs, this is reported and the folder is created again. No
// record is lost, whether it was put before or after the removal. This holds even if SIGKILL follows.
func TestSpoolRemoved(t *testing.T) {
	for name, remove := range map[string]func(dir string) error{
		"the folder": os.RemoveAll,
		"its name":   func(dir string) error { return os.Rename(dir, dir+"-away") },
		"its files": func(dir string) error {
			files, err := filepath.Glob(filepath.Join(dir, "*.spool"))
			for _, f := range files {
				err = os.Remove(f)
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "spool")
			b := openSpool(t, SpoolConfig{Dir: dir})
			for n := range 10 {
				b.Put(sample(Finding, n))
			}
			onDisk(t, b, 10)
			if err := remove(dir); err != nil {
				t.Fatal(err)
			}
			eventually.True(t, "it is noticed", func() bool { return b.Stats().SpoolRemovals == 1 }, b.Stats)
			eventually.True(t, "it is repaired", func() bool { s := b.Stats(); return s.SpoolReason == "" && s.Spooled == 10 }, b.Stats)
			b.Put(sample(Finding, 10))
			onDisk(t, b, 11)
			again := openSpool(t, SpoolConfig{Dir: copied(t, dir)}) // the state after SIGKILL
			onDisk(t, again, 11)
			if got := drain(again); len(got) != 11 {
				t.Errorf("after a kill: %v", got)
			}
			if got := drain(b); len(got) != 11 || sum(b.Stats().Dropped) != 0 {
				t.Errorf("%v: %+v", got, b.Stats())
			}
		})
	}
}

// TestSpoolRemovedForGood: if the folder cannot be created again, new records wait in memory. Records in removed
// files are still sent.
func TestSpoolRemovedForGood(t *testing.T) {
	parent := filepath.Join(t.TempDir(), "parent")
	b := openSpool(t, SpoolConfig{Dir: filepath.Join(parent, "spool")})
	b.Put(sample(Finding, 0))
	onDisk(t, b, 1)
	if err := os.RemoveAll(parent); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(parent, nil, 0o600); err != nil { // a file has the name of the folder
		t.Fatal(err)
	}
	eventually.True(t, "it is reported", func() bool { s := b.Stats(); return s.SpoolReason != "" && s.SpoolRemovals == 1 }, b.Stats)
	b.Put(sample(Finding, 1))
	if got := drain(b); !slices.Equal(got, []string{Finding + "-0", Finding + "-1"}) {
		t.Errorf("%v: %+v", got, b.Stats())
	}
	if err := os.Remove(parent); err != nil {
		t.Fatal(err)
	}
	b.Put(sample(Finding, 2))
	onDisk(t, b, 1)
	if s := b.Stats(); s.SpoolReason != "" || sum(s.Dropped) != 0 {
		t.Errorf("%+v", s)
	}
}

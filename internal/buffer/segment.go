package buffer

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
)

// segment is a file of the spool: records of one dataset, in order of arrival.
//
//	header  magic (8)
//	        cursor (8): all records before this offset are done; index of the record there (4); checksum (4)
//	        records written so far (4), of them reported as lost (4), checksum (4)
//	record  magic (4), checksum of index, length and body (4), index in the segment (4), length of the body (4), mark (4), body
//	body    order of arrival (8), time in ns (8), length and text of id, length and text of key, value
//
// Sizes in parentheses are in bytes. Numbers are big-endian, lengths in the body are uvarints, and checksums are
// CRC-32C. The mark is set only for a record that is done although an older one is not; otherwise it is 0. The mark and
// the header's fields are overwritten in place, so the record's checksum does not cover them.
//
// After damage, the next intact record is found by the magic of records. The index of that record shows how many
// records are missing before it. Files of version 1 (oldMagic) have neither magic nor index in their records. Such
// files are read, but only their marks and cursor are written; see walk.
type segment struct {
	file     *os.File
	number   uint64
	old      bool   // the file is of version 1
	sealed   bool   // no more records are appended
	orphan   bool   // the segment's file was removed from the folder; see spool.checkFiles
	size     int64  // bytes of the header and all records
	count    uint32 // number of records written, and index of the next one
	reported uint32 // number of records reported as lost
	cursor   int64  // all records before this offset are done
	index    uint32 // index of the record at cursor
	left     int    // number of records that are not done
	pinned   int    // number of records that were read and are not done
	dirty    bool   // the segment has records that are not synced
	removed  bool   // the segment is in no journal any more
}

const (
	segmentMagic  = "meshtls2" // differs from oldMagic in several bytes
	segmentHeader = 36
	cursorAt      = 8
	countAt       = 24
	recordMagic   = "\xff\x00sR" // does not occur in JSON
	recordHeader  = 20
	markAt        = 16
	recordDone    = "done"   // no single damaged byte turns zeros into it
	minBody       = 18       // length of a body without texts and value
	maxBody       = 64 << 20 // a greater length is damage
	maxIndex      = 1 << 24  // a greater index is damage too: a segment is full long before
)

// Version 1 has a header with magic (8), cursor (8) and checksum (4). A record has the length of the body (4), a
// checksum of length and body (4), a mark (1) and the body.
const (
	oldMagic        = "mtlsspl1"
	oldHeader       = 20
	oldRecordHeader = 9
	oldRecordDone   = 1
	oldMaxBody      = 1 << 20 // maximum body of a record that is searched for after damage
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// entry is a record's position in a segment.
type entry struct {
	segment *segment
	at, end int64
	index   uint32
	done    bool // the record was delivered or dropped
	marked  bool // the file shows that the record is done
}

func segmentName(p priority, number uint64) string {
	return fmt.Sprintf("%s-%016x.spool", fileNames[p], number)
}

// fileNames are the prefixes of segments' file names, empty for evidence, which is not spooled.
var fileNames = [priorities]string{flow: "flow", posture: "posture", finding: "finding", tap: "tap"}

// createSegment creates an empty segment.
func createSegment(dir string, p priority, number uint64) (*segment, error) {
	f, err := os.OpenFile(filepath.Join(dir, segmentName(p, number)), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	s := &segment{file: f, number: number, size: segmentHeader, cursor: segmentHeader, dirty: true}
	header := append(append([]byte(segmentMagic), s.cursorField()...), s.countField()...)
	if _, err := f.WriteAt(header, 0); err != nil {
		f.Close()
		os.Remove(f.Name())
		return nil, err
	}
	return s, nil
}

// cursorField returns the bytes of the header's cursor, index and checksum, which are written at
// cursorAt.
func (s *segment) cursorField() []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(s.cursor))
	if !s.old {
		b = binary.BigEndian.AppendUint32(b, s.index)
	}
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// countField returns the bytes of the header's numbers of records and their checksum, which are written at countAt.
// Version 1 does not have them.
func (s *segment) countField() []byte {
	b := binary.BigEndian.AppendUint32(nil, s.count)
	b = binary.BigEndian.AppendUint32(b, s.reported)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// writeCount writes the number of records to the header. If that fails, a later count of lost
// records is inexact.
func (s *segment) writeCount() {
	if !s.old {
		_, _ = s.file.WriteAt(s.countField(), countAt)
	}
}

// update is a change that overwrites a few bytes of a file.
type update struct {
	file *os.File
	at   int64
	data []byte
}

// cursorUpdate returns the update of the cursor.
func (s *segment) cursorUpdate() update { return update{s.file, cursorAt, s.cursorField()} }

// markUpdate returns the update that marks a record as done.
func (e *entry) markUpdate() update {
	if e.segment.old {
		return update{e.segment.file, e.at + oldRecordHeader - 1, []byte{oldRecordDone}}
	}
	return update{e.segment.file, e.at + markAt, []byte(recordDone)}
}

// openSegment reads a segment of an earlier run. lost is the number of missing records that were not reported before.
func openSegment(file string, number uint64) (s *segment, lost int, err error) {
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		return nil, 0, err
	}
	s = &segment{file: f, number: number}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	if info.Size() > 0 {
		lost = s.scan(info.Size())
	}
	return s, lost, nil
}

// scan finds the intact records, and among them those that are not done. It returns the number of missing records
// that were not reported before. If the header is damaged, delivered records are delivered again.
func (s *segment) scan(size int64) (lost int) {
	header, written := s.readHeader()
	s.size = header
	w := s.walk(header, size)

	var seen bitSet
	cursor := int64(-1) // start of a record, -1: none found
	for r, ok := w.next(); ok; r, ok = w.next() {
		seen.add(r.index)
		s.size, s.count = r.end, max(s.count, r.index+1)
		switch {
		case r.at < s.cursor:
			if s.old {
				s.index = r.index + 1
			}
			continue
		case cursor < 0:
			if cursor = r.at; s.old && r.at == s.cursor {
				s.index = r.index
			}
		}
		if !r.done {
			s.left++
		}
	}

	if s.cursor = cursor; cursor < 0 {
		s.cursor = s.size
	}
	if torn := w.damaged || size < header; torn {
		s.count++ // damage or a torn write cost at least one record
	}
	s.count = max(s.count, written)

	missing := 0
	for i := s.index; i < s.count; i++ {
		if !seen.has(i) {
			missing++
		}
	}

	s.sealed = s.old || s.size != size || seen.n < s.count
	lost = max(0, missing-int(s.reported))
	s.reported += uint32(lost)
	s.writeCount()
	return lost
}

// readHeader decodes the intact fields of the header. It returns the header's length and a lower bound of the number of
// records written.
func (s *segment) readHeader() (header int64, written uint32) {
	head := make([]byte, segmentHeader)
	n, _ := s.file.ReadAt(head, 0)
	s.old = differences(head[:n], oldMagic) < differences(head[:n], segmentMagic)
	header = segmentHeader
	cursor := head[cursorAt:countAt]
	if s.old {
		header, cursor = oldHeader, head[cursorAt:oldHeader]
	}
	s.cursor = header

	if at, ok := checked(cursor); ok {
		s.cursor = max(header, int64(binary.BigEndian.Uint64(at)))
		if !s.old {
			s.index = binary.BigEndian.Uint32(at[8:])
		}
	}
	if counts, ok := checked(head[countAt:]); ok && !s.old {
		written, s.reported = binary.BigEndian.Uint32(counts), binary.BigEndian.Uint32(counts[4:])
	}
	if written > maxIndex || s.index > maxIndex || s.cursor < 0 {
		s.cursor, s.index, written = header, 0, 0
	}
	return header, written
}

// checked returns b without the checksum at its end, and reports whether the checksum is correct.
func checked(b []byte) (_ []byte, ok bool) {
	end := len(b) - 4
	return b[:end], crc32.Checksum(b[:end], castagnoli) == binary.BigEndian.Uint32(b[end:])
}

// differences returns the number of bytes in which the start of b differs from text.
func differences(b []byte, text string) (n int) {
	for i := range text {
		if i >= len(b) || b[i] != text[i] {
			n++
		}
	}
	return n
}

// bitSet is a set of small numbers.
type bitSet struct {
	words []uint64
	n     uint32 // number of elements
}

func (b *bitSet) add(i uint32) {
	for int(i/64) >= len(b.words) {
		b.words = append(b.words, 0)
	}
	if !b.has(i) {
		b.words[i/64] |= 1 << (i % 64)
		b.n++
	}
}

func (b *bitSet) has(i uint32) bool {
	return int(i/64) < len(b.words) && b.words[i/64]&(1<<(i%64)) != 0
}

// read returns the records between the offsets at and end that are not done. It skips damage. It stops at the
// offset end, or after the record with which limit bytes are reached. next is the offset at which it stopped. The
// caller owns the values.
func (s *segment) read(at, end int64, p priority, limit int) (items []Item, next int64) {
	w := s.walk(at, end)
	for size := 0; size < limit; {
		r, ok := w.next()
		if !ok {
			return items, end
		}
		if r.done {
			continue
		}
		it := decodeItem(bytes.Clone(r.body), p)
		it.disk = &entry{segment: s, at: r.at, end: r.end, index: r.index}
		items, size = append(items, it), size+len(r.body)
	}
	return items, w.at
}

package sink

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"time"
)

// A segment is a file of the spool: records of one kind, in order of arrival.
//
//	header  magic (8), cursor (8): all records before it are done, checksum of the cursor (4)
//	record  length of the body (4), checksum of length and body (4), mark (1), body
//	body    order of arrival (8), time in ns (8), length and text of id, length and text of key, value
//
// Numbers are big-endian, lengths in the body uvarints, checksums CRC-32C. The mark is 0
// until the record is done while an older one is not; it is outside of the checksum, as
// is the cursor, since both are written over in place.
type segment struct {
	file   *os.File
	number uint64
	size   int64 // of the header and all whole records
	cursor int64 // where the first record begins that is not done, or later: see entry
	left   int   // records that are not done
	pinned int   // of them, those that were read and not settled
	dirty  bool  // holds what was not synced
	gone   bool  // in no journal any more
}

const (
	segmentMagic  = "mtlsspl1"
	segmentHeader = 20
	recordHeader  = 9
	recordDone    = 1
	maxBody       = 64 << 20 // a length beyond is damage
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errDamaged says that a segment's bytes are not those that were written.
var errDamaged = errors.New("damaged")

// entry is where a record stands in a segment.
type entry struct {
	segment  *segment
	at, end  int64
	done     bool // delivered, or dropped
	recorded bool // and the file says so
}

func segmentName(k kind, number uint64) string {
	return fmt.Sprintf("%s-%016x.spool", kindNames[k], number)
}

// kindNames are the kinds as files are named for them.
var kindNames = [kinds]string{flow: "flow", posture: "posture", finding: "finding", tap: "tap"}

// createSegment makes an empty segment.
func createSegment(dir string, k kind, number uint64) (*segment, error) {
	f, err := os.OpenFile(filepath.Join(dir, segmentName(k, number)), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	s := &segment{file: f, number: number, size: segmentHeader, cursor: segmentHeader, dirty: true}
	if err := s.writeCursor(true); err != nil {
		f.Close()
		os.Remove(f.Name())
		return nil, err
	}
	return s, nil
}

// openSegment reads a segment of an earlier run. What follows its last whole record is
// cut off, and torn says that there was something.
func openSegment(file string, number uint64) (s *segment, torn bool, err error) {
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		return nil, false, err
	}
	s = &segment{file: f, number: number, size: segmentHeader, cursor: segmentHeader}
	info, err := f.Stat()
	if err == nil {
		torn, err = s.scan(info.Size())
	}
	if err != nil {
		f.Close()
		return nil, false, err
	}
	return s, torn, nil
}

// scan finds the whole records and those that are not done. A header that is not valid
// leaves none of them out: what was delivered comes twice rather than never.
func (s *segment) scan(size int64) (torn bool, err error) {
	head := make([]byte, segmentHeader)
	if _, err := s.file.ReadAt(head, 0); err != nil || string(head[:8]) != segmentMagic {
		return size > 0, s.reset()
	}
	if crc32.Checksum(head[8:16], castagnoli) == binary.BigEndian.Uint32(head[16:]) {
		s.cursor = max(segmentHeader, int64(binary.BigEndian.Uint64(head[8:])))
	}
	in := bufio.NewReaderSize(io.NewSectionReader(s.file, segmentHeader, size-segmentHeader), 64<<10)
	var body []byte
	for s.size < size {
		var done bool
		if body, done, err = readRecord(in, body); err != nil {
			return true, s.file.Truncate(s.size)
		}
		if s.size >= s.cursor && !done {
			s.left++
		}
		s.size += recordHeader + int64(len(body))
	}
	s.cursor = min(s.cursor, s.size)
	return false, nil
}

// reset makes the segment one without records.
func (s *segment) reset() error {
	if err := s.file.Truncate(0); err != nil {
		return err
	}
	return s.writeCursor(true)
}

// readRecord reads one record into the capacity of body, which it returns.
func readRecord(in io.Reader, body []byte) (_ []byte, done bool, err error) {
	var head [recordHeader]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return body, false, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > maxBody {
		return body, false, errDamaged
	}
	if cap(body) < int(n) {
		body = make([]byte, n)
	}
	body = body[:n]
	if _, err := io.ReadFull(in, body); err != nil {
		return body, false, err
	}
	if checksum(head[:4], body) != binary.BigEndian.Uint32(head[4:]) {
		return body, false, errDamaged
	}
	return body, head[8] == recordDone, nil
}

func checksum(length, body []byte) uint32 {
	return crc32.Update(crc32.Checksum(length, castagnoli), castagnoli, body)
}

// writeCursor notes how far the records are done; with the header's other part if that
// is asked for.
func (s *segment) writeCursor(whole bool) error {
	b := binary.BigEndian.AppendUint64([]byte(segmentMagic), uint64(s.cursor))
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(b[8:], castagnoli))
	if whole {
		_, err := s.file.WriteAt(b, 0)
		return err
	}
	_, err := s.file.WriteAt(b[8:], 8)
	return err
}

// writeMark notes that one record is done while older ones are not.
func (s *segment) writeMark(at int64) error {
	_, err := s.file.WriteAt([]byte{recordDone}, at+recordHeader-1)
	return err
}

// read returns records that are not done from offset at on, and where it stopped: at
// the end, or behind the record that filled limit bytes. The caller owns the values.
func (s *segment) read(at, end int64, k kind, limit int) (items []item, next int64, err error) {
	buf := make([]byte, min(end-at, int64(limit)))
	if _, err := s.file.ReadAt(buf, at); err != nil {
		return nil, at, err
	}
	if n := recordLength(buf); n > int64(len(buf)) && at+n <= end { // one record larger than the limit
		buf = make([]byte, n)
		if _, err := s.file.ReadAt(buf, at); err != nil {
			return nil, at, err
		}
	}
	for len(buf) > 0 {
		n := recordLength(buf)
		if n > int64(len(buf)) {
			if len(items) == 0 && at+n > end {
				return nil, at, errDamaged
			}
			break
		}
		body := buf[recordHeader:n]
		if checksum(buf[:4], body) != binary.BigEndian.Uint32(buf[4:]) {
			return items, at, errDamaged
		}
		if buf[recordHeader-1] != recordDone {
			it, ok := decodeItem(body, k)
			if !ok {
				return items, at, errDamaged
			}
			it.disk = &entry{segment: s, at: at, end: at + n}
			items = append(items, it)
		}
		buf, at = buf[n:], at+n
	}
	return items, at, nil
}

// recordLength is what the record at b takes in the file, more than b has if even its
// header is cut.
func recordLength(b []byte) int64 {
	if len(b) < recordHeader {
		return recordHeader
	}
	return recordHeader + int64(binary.BigEndian.Uint32(b))
}

// appendItem appends a record.
func appendItem(b []byte, it *item) []byte {
	start := len(b)
	b = append(b, make([]byte, recordHeader)...)
	b = binary.BigEndian.AppendUint64(b, it.seq)
	b = binary.BigEndian.AppendUint64(b, uint64(nanoseconds(it.Time)))
	b = append(binary.AppendUvarint(b, uint64(len(it.ID))), it.ID...)
	b = append(binary.AppendUvarint(b, uint64(len(it.Key))), it.Key...)
	b = append(b, it.Value...)
	head, body := b[start:start+recordHeader], b[start+recordHeader:]
	binary.BigEndian.PutUint32(head, uint32(len(body)))
	binary.BigEndian.PutUint32(head[4:], checksum(head[:4], body))
	return b
}

func nanoseconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func decodeItem(b []byte, k kind) (it item, ok bool) {
	if len(b) < 16 {
		return it, false
	}
	it.kind, it.Dataset = k, datasetOf[k]
	it.seq = binary.BigEndian.Uint64(b)
	if ns := int64(binary.BigEndian.Uint64(b[8:])); ns != 0 {
		it.Time = time.Unix(0, ns)
	}
	b = b[16:]
	for _, text := range []*string{&it.ID, &it.Key} {
		n, used := binary.Uvarint(b)
		if used <= 0 || n > uint64(len(b)-used) {
			return it, false
		}
		*text, b = string(b[used:used+int(n)]), b[used+int(n):]
	}
	it.Value = b
	return it, true
}

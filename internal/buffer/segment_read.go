package buffer

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"io"
	"time"
)

// walk iterates over the records of a segment. It skips everything that is not an intact record: flipped bits, zeroed
// or unreadable pages, torn writes.
type walk struct {
	file    io.ReaderAt
	old     bool
	at, end int64
	damaged bool   // bytes were skipped since the last record
	index   uint32 // version 1: index of the next record, where each damaged part counts as one
	window  []byte // part of the file
	base    int64  // offset of window[0]
}

// diskRecord is a record of a segment. Its body is valid until the next record is read.
type diskRecord struct {
	at, end int64
	index   uint32
	done    bool
	body    []byte
}

const (
	walkWindow = 64 << 10 // bytes read at once
	walkPage   = 4 << 10  // bytes skipped if they cannot be read
)

// walk returns a walk from offset at, which must be the start of a record, to end.
func (s *segment) walk(at, end int64) walk {
	return walk{file: s.file, old: s.old, at: at, end: end}
}

// next returns the next intact record, and false at the end.
func (w *walk) next() (diskRecord, bool) {
	for w.at < w.end {
		if r, ok := w.record(); ok {
			w.at, w.damaged = r.end, false
			return r, true
		}
		if w.old && !w.damaged {
			w.index++
		}
		w.damaged = true
		w.resync()
	}
	return diskRecord{}, false
}

// record reads the record at w.at and reports whether it is intact.
func (w *walk) record() (r diskRecord, ok bool) {
	if w.old {
		return w.oldRecord()
	}
	head := w.bytes(recordHeader)
	if head == nil {
		return r, false
	}
	sum, n := binary.BigEndian.Uint32(head[4:]), binary.BigEndian.Uint32(head[12:])
	r.index = binary.BigEndian.Uint32(head[8:])
	b := w.body(recordHeader, n)
	if b == nil || r.index >= maxIndex {
		return r, false
	}
	r.body = b[recordHeader:]
	r.at, r.end, r.done = w.at, w.at+int64(len(b)), string(b[markAt:recordHeader]) == recordDone
	return r, checksum(b[8:markAt], r.body) == sum && wellFormed(r.body)
}

func (w *walk) oldRecord() (r diskRecord, ok bool) {
	head := w.bytes(oldRecordHeader)
	if head == nil {
		return r, false
	}
	n, sum := binary.BigEndian.Uint32(head), binary.BigEndian.Uint32(head[4:])
	b := w.body(oldRecordHeader, n)
	if b == nil {
		return r, false
	}
	r.body = b[oldRecordHeader:]
	r.at, r.end, r.done = w.at, w.at+int64(len(b)), b[oldRecordHeader-1] == oldRecordDone
	if ok = checksum(b[:4], r.body) == sum && wellFormed(r.body); ok {
		r.index = w.index
		w.index++
	}
	return r, ok
}

// body returns the header and the body of a record whose body has n bytes. It returns nil if the length is
// impossible or the bytes cannot be read.
func (w *walk) body(header int64, n uint32) []byte {
	if n < minBody || n > maxBody {
		return nil
	}
	return w.bytes(header + int64(n))
}

// bytes returns the n bytes at w.at. It returns nil if there are fewer, or if they cannot be read.
func (w *walk) bytes(n int64) []byte {
	if n > w.end-w.at {
		return nil
	}
	if b := w.read(int(n)); len(b) >= int(n) {
		return b[:n]
	}
	return nil
}

// read returns the bytes at w.at. It returns at least n bytes, except at the end or if they cannot
// be read.
func (w *walk) read(n int) []byte {
	if from := w.at - w.base; from >= 0 && from+int64(n) <= int64(len(w.window)) {
		return w.window[from:]
	}
	size := min(max(n, walkWindow), int(w.end-w.at))
	if cap(w.window) < size {
		w.window = make([]byte, size)
	}
	k, _ := w.file.ReadAt(w.window[:size], w.at)
	w.window, w.base = w.window[:k], w.at
	return w.window
}

// resync advances to the next offset at which a record may start, or to the end.
func (w *walk) resync() {
	for w.at++; w.at < w.end; {
		b := w.read(1)
		if len(b) == 0 { // unreadable: a bad block, or the file was shortened
			w.at = (w.at/walkPage + 1) * walkPage
			continue
		}
		i, step := w.find(b)
		if i >= 0 {
			w.at += int64(i)
			return
		}
		w.at += int64(step)
	}
	w.at = w.end
}

// find returns the index in b at which a record may start. Without one, at is -1 and step is the number of bytes
// to skip.
func (w *walk) find(b []byte) (at, step int) {
	if !w.old {
		return bytes.Index(b, []byte(recordMagic)), max(1, len(b)-len(recordMagic)+1)
	}
	for at := 0; at+oldRecordHeader <= len(b); at++ {
		n, mark := binary.BigEndian.Uint32(b[at:]), b[at+oldRecordHeader-1]
		if n >= minBody && n <= oldMaxBody && mark <= oldRecordDone {
			return at, 0
		}
	}
	return -1, max(1, len(b)-oldRecordHeader+1)
}

func checksum(head, body []byte) uint32 {
	return crc32.Update(crc32.Checksum(head, castagnoli), castagnoli, body)
}

// itemLength returns the size of an item's record in a segment.
func itemLength(it *Item) int64 {
	n := recordHeader + 16 + len(it.ID) + len(it.Key) + len(it.Value)
	for _, text := range []string{it.ID, it.Key} {
		n += len(binary.AppendUvarint(nil, uint64(len(text))))
	}
	return int64(n)
}

// appendItem appends an item's record to b.
func appendItem(b []byte, it *Item, index uint32) []byte {
	start := len(b)
	b = append(b, recordMagic...)
	b = append(b, 0, 0, 0, 0)
	b = binary.BigEndian.AppendUint32(b, index)
	b = append(b, 0, 0, 0, 0, 0, 0, 0, 0)
	b = binary.BigEndian.AppendUint64(b, it.Seq)
	b = binary.BigEndian.AppendUint64(b, uint64(nanoseconds(it.Time)))
	b = append(binary.AppendUvarint(b, uint64(len(it.ID))), it.ID...)
	b = append(binary.AppendUvarint(b, uint64(len(it.Key))), it.Key...)
	b = append(b, it.Value...)
	head, body := b[start:start+recordHeader], b[start+recordHeader:]
	binary.BigEndian.PutUint32(head[12:], uint32(len(body)))
	binary.BigEndian.PutUint32(head[4:], checksum(head[8:markAt], body))
	return b
}

func nanoseconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

// wellFormed reports whether decodeItem can decode a body.
func wellFormed(b []byte) bool {
	if len(b) < minBody {
		return false
	}
	_, b, ok := text(b[16:])
	if ok {
		_, _, ok = text(b)
	}
	return ok
}

// text returns the length-prefixed text at the start of b, and the bytes after it.
func text(b []byte) (text, rest []byte, ok bool) {
	n, used := binary.Uvarint(b)
	if used <= 0 || n > uint64(len(b)-used) {
		return nil, b, false
	}
	return b[used : used+int(n)], b[used+int(n):], true
}

// decodeItem decodes a well-formed body. The item's value is a part of b.
func decodeItem(b []byte, p priority) (it Item) {
	it.priority, it.Dataset = p, datasetOf[p]
	it.Seq = binary.BigEndian.Uint64(b)
	if ns := int64(binary.BigEndian.Uint64(b[8:])); ns != 0 {
		it.Time = time.Unix(0, ns)
	}
	id, b, _ := text(b[16:])
	key, value, _ := text(b)
	it.ID, it.Key, it.Value = string(id), string(key), value
	return it
}

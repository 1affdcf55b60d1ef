package offline

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/meshtls-tap/meshtls-tap/internal/record"
)

// maxLine bounds a line, in bytes. A record is some 2 KB long.
const maxLine = 1 << 20

// maxReported bounds the wrong lines that an error names.
const maxReported = 3

var (
	errTooLong   = fmt.Errorf("longer than %d MiB: not a record of meshtls-tap", maxLine>>20)
	errNotRecord = errors.New("not a record of meshtls-tap: expected a JSON object with event.dataset and meshtls")
)

// Lines reads records, one JSON object in each line, possibly after a key and a tab (Kafka's console consumers) or in the envelope of kcat -J. It
// skips empty lines and lines of the tap's log. The error names the first lines that are not records; all records are passed to add nevertheless. If ctx ends, Lines
// returns its cause, wrapped.
func Lines(ctx context.Context, r io.Reader, add func(*record.Record)) error {
	in := bufio.NewReaderSize(r, 64<<10)
	var reported []error
	wrong, found := 0, 0
	for n := 1; ctx.Err() == nil; n++ {
		line, err := next(in)
		fault := err
		if err == nil || errors.Is(err, io.EOF) && !errors.Is(err, errTooLong) {
			fault = nil
			if n == 1 {
				line = bytes.TrimPrefix(line, []byte("\xef\xbb\xbf")) // the byte order mark (RFC 3629 section 6)
			}
			if line = bytes.TrimSpace(line); len(line) > 0 && !isLog(line) {
				var x *record.Record
				if x, fault = Parse(line); fault == nil {
					found++
					add(x)
				}
			}
		}
		if fault != nil {
			if wrong++; wrong <= maxReported {
				reported = append(reported, fmt.Errorf("line %d: %w", n, fault))
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			if wrong > maxReported {
				reported = append(reported, errors.New(moreLines(wrong-maxReported)))
			}
			if wrong == 0 && found == 0 {
				reported = append(reported, errors.New("no record in it: expected a capture (pcap, pcapng), or records as JSON lines"))
			}
			return errors.Join(reported...)
		case err != nil && !errors.Is(err, errTooLong):
			return errors.Join(reported...)
		}
	}
	return errors.Join(append(reported, errInterrupted(ctx, counted(uint64(found), "record")))...)
}

// moreLines returns the words for n further lines that are not records.
func moreLines(n int) string {
	if n == 1 {
		return "1 more line that is not a record"
	}
	return fmt.Sprintf("%d more lines that are not records", n)
}

// counted formats a number with a noun.
func counted(n uint64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// Parse parses a record. line is a JSON object, possibly after a key and a tab, or in the envelope of kcat -J. The record does not retain line.
func Parse(line []byte) (*record.Record, error) {
	if at := bytes.IndexByte(line, '\t'); at >= 0 && line[0] != '{' {
		line = bytes.TrimSpace(line[at+1:])
	}
	var envelope struct {
		record.Record
		Payload string `json:"payload"`
	}
	if err := json.Unmarshal(line, &envelope); err != nil {
		return nil, parseError(err)
	}
	r := &envelope.Record
	if r.Meshtls.Schema == 0 && envelope.Payload != "" {
		r = &record.Record{}
		if err := json.Unmarshal([]byte(envelope.Payload), r); err != nil {
			return nil, parseError(err)
		}
	}
	if r.Meshtls.Schema == 0 || !strings.HasPrefix(r.Event.Dataset, "meshtls.") {
		return nil, errNotRecord
	}
	return r, nil
}

// parseError returns an error about a line without the names of Go's types.
func parseError(err error) error {
	var kind *json.UnmarshalTypeError
	var form *json.SyntaxError
	switch {
	case errors.As(err, &kind):
		return errors.New("not a record of meshtls-tap: " + kind.Field + " has the wrong type (" + kind.Value + ")")
	case errors.As(err, &form):
		return errors.New("not JSON: " + form.Error())
	}
	return errors.New("not a record of meshtls-tap: " + err.Error()) // an invalid time or address
}

// isLog reports whether a line belongs to the tap's log (log/slog's TextHandler).
func isLog(line []byte) bool {
	return bytes.HasPrefix(line, []byte("time=")) && bytes.Contains(line, []byte(" level="))
}

// next returns the next line. It skips a line that is too long, and returns errTooLong.
func next(in *bufio.Reader) (line []byte, err error) {
	long := false
	for {
		part, err := in.ReadSlice('\n')
		if len(line)+len(part) > maxLine {
			long, line = true, nil
		}
		if !long {
			line = append(line, part...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
		case long && (err == nil || errors.Is(err, io.EOF)):
			return nil, errors.Join(errTooLong, err)
		default:
			return line, err
		}
	}
}

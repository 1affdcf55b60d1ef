package migration

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// maxLine bounds a line, in bytes. A record is some 2 KB long.
const maxLine = 1 << 20

// maxReported bounds the lines of one input that an error names.
const maxReported = 3

// Read adds the records of one input, one JSON object in each line. It skips empty lines and lines of the tap's log,
// which `kubectl logs` mixes in. Other lines that are not records are counted. All records are added nevertheless. The
// error has the input's name and the numbers of the first lines that are not records, at most maxReported.
func (s *Side) Read(r io.Reader, name string) error {
	in := bufio.NewReaderSize(r, 64<<10)
	var told []error
	wrong, before := 0, s.watch.Records
	for n := 1; ; n++ {
		line, err := next(in)
		if fault := s.addLine(line, err, name); fault != nil {
			s.skipped++
			if wrong++; wrong <= maxReported {
				told = append(told, fmt.Errorf("%s: line %d: %w", name, n, fault))
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			if wrong > maxReported {
				told = append(told, fmt.Errorf("%s: %d more lines that are not records", name, wrong-maxReported))
			}
			if wrong == 0 && s.watch.Records == before {
				told = append(told, fmt.Errorf("%s: no record in it", name))
			}
			return errors.Join(told...)
		case err != nil && !errors.Is(err, errTooLong):
			s.skipped++
			return errors.Join(append(told, fmt.Errorf("%s: line %d: %w", name, n, err))...)
		}
	}
}

// addLine adds one line. err is the error that next returned with the line.
func (s *Side) addLine(line []byte, err error, name string) error {
	switch {
	case errors.Is(err, errTooLong):
		return err
	case err != nil && !errors.Is(err, io.EOF): // an incomplete line: Read reports the error
		return nil
	case len(bytes.TrimSpace(line)) == 0 || isLog(line):
		return nil
	}
	return s.Add(line, name)
}

// isLog reports whether a line belongs to the tap's log (log/slog's TextHandler).
func isLog(line []byte) bool {
	return bytes.HasPrefix(line, []byte("time=")) && bytes.Contains(line, []byte(" level="))
}

var errTooLong = fmt.Errorf("longer than %d bytes: not a record of meshtls-tap", maxLine)

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

package offline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/meshtls-tap/meshtls-tap/internal/pcapfile"
	"github.com/meshtls-tap/meshtls-tap/internal/record"
)

// Read reads a file, or standard input if name is "-", and calls add with each record in order. add must not retain the record. Records of a
// capture have the file's name as meshtls.run, so that captures can be told apart. The error has the file's name and the place. The records before
// the error have been passed to add. Read returns the error of ctx, wrapped, if ctx ends.
func Read(ctx context.Context, name string, stdin io.Reader, add func(*record.Record)) error {
	in, err := open(name, stdin)
	if err != nil {
		return err // it contains the name
	}
	defer in.Close()
	if err := read(ctx, in, filepath.Base(name), add); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

func open(name string, stdin io.Reader) (io.ReadCloser, error) {
	if name == "-" {
		return io.NopCloser(stdin), nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err == nil && info.IsDir() {
		f.Close()
		return nil, fmt.Errorf("%s: a folder: expected a capture file, or a file of records", name)
	}
	return f, nil
}

func read(ctx context.Context, file io.Reader, run string, add func(*record.Record)) error {
	in, captured, err := pcapfile.Sniff(file)
	switch {
	case err != nil:
		return err
	case captured:
		return capture(ctx, in, run, add)
	}
	return Lines(ctx, in, add)
}

// errInterrupted returns the error for a file of which only a part was read.
func errInterrupted(ctx context.Context, place string) error {
	return fmt.Errorf("interrupted after %s: %w", place, errors.Join(context.Cause(ctx)))
}

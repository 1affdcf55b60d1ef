package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// errInterrupted reports that a signal ended the reading of a file before its end.
var errInterrupted = errors.New("interrupted")

// drainTime is how long a pipe is still read after a signal. The program that captures gets the same Ctrl-C, and then writes the
// packets that it has buffered.
const drainTime = 500 * time.Millisecond

// untilStopped returns a reader of in that ends with in, or drainTime after ctx has ended, even while a read of in waits for data.
func untilStopped(ctx context.Context, in io.Reader) io.ReadCloser {
	out, w := io.Pipe()
	go func() {
		_, err := io.Copy(w, in)
		w.CloseWithError(err)
	}()
	context.AfterFunc(ctx, func() { time.AfterFunc(drainTime, func() { w.Close() }) })
	return out
}

// followed reads a file that another process still writes to. At the end of the file it waits for more, until ctx ends.
type followed struct {
	file *os.File
	ctx  context.Context
	at   int64 // bytes read so far
}

func (f *followed) Close() error { return f.file.Close() }

// growthCheck is the time between two checks of whether a followed file has grown.
const growthCheck = 100 * time.Millisecond

func (f *followed) Read(b []byte) (int, error) {
	for {
		last := f.ctx.Err() != nil // checked first, so that bytes written before the end of ctx are read
		n, err := f.file.Read(b)
		f.at += int64(n)
		if n > 0 || last || !errors.Is(err, io.EOF) {
			return n, err
		}
		if info, err := f.file.Stat(); err == nil && info.Size() < f.at {
			return 0, fmt.Errorf("the file shrank from %d to %d bytes while it was followed", f.at, info.Size())
		}
		select {
		case <-f.ctx.Done():
		case <-time.After(growthCheck):
		}
	}
}

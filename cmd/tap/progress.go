package main

import (
	"fmt"
	"io"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/pcapfile"
)

// progress shows on a terminal that interprets escapes how much of a file has been read. It starts after one second.
type progress struct {
	out   io.Writer // nil: nothing is shown
	name  string
	size  int64 // size of the file in bytes; -1: unknown
	next  time.Time
	count int
	shown bool
}

const (
	progressEvery = 250 * time.Millisecond
	progressCheck = 1 << 12 // packets between two readings of the clock
)

func newProgress(out io.Writer, name string, size int64) *progress {
	if !isTerminal(out) || isDumb() {
		return &progress{}
	}
	return &progress{out: out, name: name, size: size, next: time.Now().Add(time.Second)}
}

// step counts one more packet of a file.
func (p *progress) step(file *pcapfile.Reader) {
	if p.out != nil {
		p.update(file)
	}
}

// update shows the progress if it is due.
func (p *progress) update(file *pcapfile.Reader) {
	if p.count++; p.count%progressCheck != 0 {
		return
	}
	now := time.Now()
	if now.Before(p.next) {
		return
	}
	p.next, p.shown = now.Add(progressEvery), true
	fmt.Fprintf(p.out, "\r\x1b[K%s: %s, %d packets", p.name, p.share(file.BytesRead()), file.Packets())
}

// share formats a number of bytes that were read. If the size of the file is known, the text is in
// percent of it, and otherwise in MiB.
func (p *progress) share(n int64) string {
	const mega = 1 << 20
	if p.size <= 0 || n > p.size { // unknown, or the file is compressed
		return fmt.Sprintf("%d MiB", n/mega)
	}
	return fmt.Sprintf("%d%% of %d MiB", 100*n/p.size, p.size/mega)
}

// done clears the progress line.
func (p *progress) done() {
	if p.shown {
		fmt.Fprint(p.out, "\r\x1b[K")
	}
}

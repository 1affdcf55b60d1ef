package main

import (
	"fmt"
	"io"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/pcapfile"
)

// progress shows on a terminal how far a file is read, once that takes over a second.
type progress struct {
	out   io.Writer // nil: nothing is shown
	name  string
	size  int64 // of the file in bytes, -1: not known
	next  time.Time
	count int
	shown bool
}

const (
	progressEvery = 250 * time.Millisecond
	progressLook  = 1 << 12 // packets between two looks at the clock
)

func newProgress(out io.Writer, name string, size int64) *progress {
	if !isTerminal(out) {
		return &progress{}
	}
	return &progress{out: out, name: name, size: size, next: time.Now().Add(time.Second)}
}

// step counts one more packet of a file.
func (p *progress) step(file *pcapfile.Reader) {
	if p.out != nil {
		p.another(file)
	}
}

func (p *progress) another(file *pcapfile.Reader) {
	if p.count++; p.count%progressLook != 0 {
		return
	}
	now := time.Now()
	if now.Before(p.next) {
		return
	}
	p.next, p.shown = now.Add(progressEvery), true
	fmt.Fprintf(p.out, "\r\x1b[K%s: %s, %d packets", p.name, p.share(file.BytesRead()), file.Packets())
}

func (p *progress) share(n int64) string {
	const mega = 1 << 20
	if p.size <= 0 || n > p.size { // not known, or compressed
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

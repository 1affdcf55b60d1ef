package main

import (
	"bytes"
	"io"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/meshtls-tap/meshtls-tap/internal/report"
)

// clean escapes what a terminal interprets or does not show, except for line feeds and tabs. Texts of the cluster and of taps may contain anything.
func clean(text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		parts := strings.Split(line, "\t")
		for j, part := range parts {
			parts[j] = report.CleanMessage(part)
		}
		lines[i] = strings.Join(parts, "\t")
	}
	return strings.Join(lines, "\n")
}

// cleaned writes clean text. It is safe for concurrent use.
type cleaned struct {
	to io.Writer

	mu   sync.Mutex
	rest []byte // the start of a character that is not complete yet
}

func (c *cleaned) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	text := append(c.rest, b...)
	whole := len(text)
	for i := 1; i < utf8.UTFMax && i <= len(text); i++ {
		if start := text[len(text)-i:]; utf8.RuneStart(start[0]) {
			if !utf8.FullRune(start) {
				whole -= i
			}
			break
		}
	}
	c.rest = bytes.Clone(text[whole:])
	if _, err := io.WriteString(c.to, clean(string(text[:whole]))); err != nil {
		return 0, err
	}
	return len(b), nil
}

// limited keeps the first bytes that are written to it.
type limited struct {
	bytes.Buffer
	most int
}

func (l *limited) Write(b []byte) (int, error) {
	l.Buffer.Write(b[:min(len(b), max(0, l.most-l.Len()))])
	return len(b), nil
}

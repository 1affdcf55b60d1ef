package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/eventually"
)

// TestLogWriter: all lines arrive in order. If nobody reads them, lines are dropped without waiting, and the log reports the
// dropped lines.
func TestLogWriter(t *testing.T) {
	var b bytes.Buffer
	w := newLogWriter(&b)
	for n := range 100 {
		fmt.Fprintf(w, "%d\n", n)
	}
	w.close()
	fmt.Fprintln(w, "too late")
	if got := strings.Fields(b.String()); len(got) != 100 || got[99] != "99" {
		t.Errorf("%q", got)
	}
	r, to := io.Pipe()
	w = newLogWriter(to)
	for n := range 3 * logLines {
		fmt.Fprintf(w, "%d\n", n) // this would block if there were no queue
	}
	read := make(chan string)
	go func() {
		text, _ := io.ReadAll(r)
		read <- string(text)
	}()
	eventually.True(t, "room again", func() bool { return len(w.lines) == 0 })
	fmt.Fprintln(w, "last")
	w.close()
	to.Close()
	if got := <-read; !strings.HasSuffix(got, "last\n") || !strings.Contains(got, "nobody read them") {
		t.Errorf("it ends with %q", got[max(0, len(got)-200):])
	}
}

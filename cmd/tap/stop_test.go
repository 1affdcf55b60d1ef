package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/eventually"
)

// readInBackground runs tap read. stop sends what Ctrl-C does, waits for the end, and returns the exit status and standard error.
func readInBackground(t *testing.T, in io.Reader, out io.Writer, args ...string) (stop func() (int, string)) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	status := make(chan int, 1)
	var errs bytes.Buffer
	go func() { status <- command(ctx, append([]string{"read"}, args...), nil, streams{in, out, &errs}) }()
	return func() (int, string) {
		cancel()
		return <-status, errs.String()
	}
}

// readAll returns the output of tap read for a file that is complete.
func readAll(t *testing.T, args ...string) string {
	t.Helper()
	var out, errs bytes.Buffer
	if status := command(t.Context(), append([]string{"read"}, args...), nil, streams{strings.NewReader(""), &out, &errs}); status != exitFine {
		t.Fatalf("exit status %d: %s", status, &errs)
	}
	return out.String()
}

// TestReadInterrupted: Ctrl-C while a pipe is open ends with the same output as the end of the pipe, also in the middle of a packet.
func TestReadInterrupted(t *testing.T) {
	mixed := filepath.Join("testdata", "captures", "mixed.pcap")
	data, err := os.ReadFile(mixed)
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"--output=text"}, {"--output=json", "--emit=findings,posture,flows"}} {
		for _, further := range []int{0, 20} { // bytes of a packet that is not complete
			in, w := io.Pipe()
			var out bytes.Buffer
			stop := readInBackground(t, in, &out, append(args, "-")...)
			if _, err := w.Write(append(bytes.Clone(data), data[24:24+further]...)); err != nil {
				t.Fatal(err)
			}
			if status, errs := stop(); status != exitFine || errs != "" {
				t.Errorf("%v, %d further bytes: exit status %d: %s", args, further, status, errs)
			}
			if want := readAll(t, append(args, mixed)...); out.String() != want {
				t.Errorf("%v, %d further bytes: got\n%s\nwant\n%s", args, further, &out, want)
			}
			w.Close()
		}
	}
}

// TestReadInterruptedFile: a file that was not read to its end is an error, so that no check passes on a part of it.
func TestReadInterruptedFile(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out, errs bytes.Buffer
	mixed := filepath.Join("testdata", "captures", "mixed.pcap")
	if status := command(ctx, []string{"read", mixed}, nil, streams{strings.NewReader(""), &out, &errs}); status != exitError || !strings.Contains(errs.String(), "mixed.pcap: not read: interrupted") {
		t.Errorf("exit status %d: %s", status, &errs)
	}

	r := newReading(&endsSoon{Context: t.Context(), left: 3}, readOptions{text: true}, streams{out: &out, err: &errs})
	if err := r.file(mixed); err == nil || !strings.Contains(err.Error(), "mixed.pcap: interrupted after packet ") || r.packets == 0 {
		t.Errorf("%v after %d packets", err, r.packets)
	}
}

// endsSoon is a context that has ended once Err was called a number of times.
type endsSoon struct {
	context.Context
	left int
}

func (c *endsSoon) Err() error {
	if c.left--; c.left < 0 {
		return context.Canceled
	}
	return nil
}

// TestReadFollow: packets that are appended to a file are read as they arrive, also one that is written in two pieces.
func TestReadFollow(t *testing.T) {
	for _, name := range []string{"mixed.pcap", "interfaces.pcapng"} {
		t.Run(name, func(t *testing.T) {
			complete := filepath.Join("testdata", "captures", name)
			data, err := os.ReadFile(complete)
			if err != nil {
				t.Fatal(err)
			}
			args := []string{"--output=json", "--emit=findings,posture,flows"}
			want := readAll(t, append(args, complete)...)

			file := filepath.Join(t.TempDir(), name)
			growing, err := os.Create(file)
			if err != nil {
				t.Fatal(err)
			}
			defer growing.Close()
			var out eventually.Output
			stop := readInBackground(t, strings.NewReader(""), &out, append(args, "--follow", file)...)
			written := 0
			write := func(to int) {
				for ; written < to; written++ { // byte by byte, so that a read may end within a packet
					if _, err := growing.Write(data[written : written+1]); err != nil {
						t.Fatal(err)
					}
				}
			}
			for written < len(data) && out.String() == "" { // until a connection is judged
				write(min(written+1000, len(data)))
			}
			eventually.True(t, "the first record", func() bool { return out.String() != "" })
			write(len(data))
			// All that is in the file by now is read, and the records of open connections follow.
			if status, errs := stop(); status != exitFine || errs != "" {
				t.Errorf("exit status %d: %s", status, errs)
			}
			if out.String() != want {
				t.Errorf("got\n%s\nwant\n%s", out.String(), want)
			}
		})
	}
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/dump"
	"github.com/meshtls-tap/meshtls-tap/internal/limits"
	"github.com/meshtls-tap/meshtls-tap/internal/live"
	"github.com/meshtls-tap/meshtls-tap/internal/pcapfilter"
	"github.com/meshtls-tap/meshtls-tap/internal/variables"
)

const pcapHelp = `Usage: tap pcap [FLAGS]

Captures packets and writes them as pcapng, for Wireshark. It writes packet headers and the messages of TLS, DTLS and
QUIC handshakes that are not encrypted. Of other payload it writes only the first line of each direction of a TCP
connection that begins with plaintext; every character except the words of the protocol is replaced by x. It needs the
capability NET_RAW.

It ends on Ctrl-C or SIGTERM, when the limit of time or bytes is reached, when nobody reads the output any more, or
when standard input is closed. If the reader is too slow, packets are dropped; their number is at the end of the file
and in the last message. Messages go to standard error.

Flags:
  --filter=EXPR      capture only packets that match an expression of pcap-filter(7) (see tap filter)
  --interface=NAME,...  the interfaces, or all; default TAP_INTERFACES, or else eth0,lo
  --payload          write the payload too: it may contain passwords and personal data
  --snaplen=BYTES    maximum number of bytes captured of each packet (default 262144)
  --for=DURATION     how long to capture at most (default 10m)
  --max-bytes=BYTES  maximum number of bytes written (default 64Mi)
  --wait             wait for the first byte on standard input before writing, and end when none has arrived for 20s: for
                     programs that attach to a container
  -o=FILE            write to a file, which only its owner may read, instead of standard output; - is standard output

Examples:
  tap pcap --filter='tcp port 8443' -o handshakes.pcapng
  kubectl exec web-1 -c meshtls-tap -- tap pcap | wireshark -k -i -
  tap pcap --for=1m | tap read -               the verdicts of a minute
`

// maxSnap is the snap length of tcpdump: the longest packet.
const maxSnap = 262144

// pcap is the command `tap pcap`.
func pcap(ctx context.Context, args, environ []string, std streams) (status int, err error) {
	f := newFlags("pcap", pcapHelp)
	most := byteSize(64 << 20)
	expression := f.String("filter", "", "")
	names := f.String("interface", "", "")
	payload := f.Bool("payload", false, "")
	snap := f.Int("snaplen", maxSnap, "")
	lasts := f.Duration("for", 10*time.Minute, "")
	f.Var(&most, "max-bytes", "")
	file := f.String("o", "-", "")
	wait := f.Bool("wait", false, "")
	rest, err := f.parse(args, std.out)
	if err != nil {
		return 0, err
	}
	switch {
	case len(rest) > 0:
		return 0, f.wrong("unexpected argument %q: an expression belongs to --filter", rest[0])
	case *snap < 1 || *snap > maxSnap:
		return 0, f.wrong("--snaplen=%d: expected 1 to %d", *snap, maxSnap)
	case *lasts <= 0:
		return 0, f.wrong("--for=%v: expected a duration such as 10m", *lasts)
	case *file == "-" && isTerminal(std.out):
		return 0, f.wrong("standard output is a terminal: expected a pipe, or a file with -o=FILE")
	}
	narrow, err := parseFilter(*expression)
	if err != nil {
		return 0, pointed("--filter: ", err)
	}

	var k keepalive
	if *wait {
		k = keepalive{arrivals(std.in), silentTime}
		if err := awaitClient(ctx, &k); err != nil {
			return 0, err
		}
	}
	interfaces := captureInterfaces(*names, environ)
	l := limits.For(attachedBudget, len(interfaces))
	l.Apply()
	tcp, other := l.Rings()
	c, failed := dump.Open(dump.Config{
		Interfaces: interfaces, Filter: pcapProgram(narrow, *payload), Description: narrow.String(), SnapLength: *snap, Payload: *payload,
		RingBytes: tcp + other, MaxBytes: int64(most), Application: "meshtls-tap " + version,
	})
	if c == nil {
		return 0, errors.Join(failed...)
	}
	for _, err := range failed {
		printLines(std.err, "tap pcap", "warning: not captured: "+err.Error())
	}

	out := std.out
	if *file != "-" {
		created, err := createPrivate(*file)
		if err != nil {
			return 0, err
		}
		defer created.Close()
		out = created
	}
	what := "without payload"
	if *payload {
		what = "with payload"
	}
	return runPcap(ctx, c, out, *lasts, what, k, std), nil
}

// createPrivate opens a file for writing, and empties it. Only its owner may read it, also if it exists already.
func createPrivate(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && info.Mode().IsRegular() { // otherwise it is a device, or a pipe that another program reads
		err = f.Chmod(0o600)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// runPcap captures until the end, prints what is captured and the result, and returns the exit status.
func runPcap(ctx context.Context, c *dump.Capture, out io.Writer, lasts time.Duration, what string, k keepalive, std streams) int {
	ignorePipe()
	ctx, stop := untilSignal(ctx, func() {})
	defer stop()
	ctx, cancel := untilGone(ctx, withPeer(streams{in: std.in, out: out}), lasts, k)
	defer cancel()
	fmt.Fprintf(std.err, "tap pcap: capturing on %s, %s, for %v or until Ctrl-C\n", strings.Join(c.Interfaces(), ", "), what, lasts)
	result, err := c.Run(ctx, out)
	switch reason := captureEnd(err); {
	case errors.Is(err, dump.ErrBlocked): // what was written cannot be counted
		fmt.Fprintf(std.err, "tap pcap: %v\n", err)
	case reason == "":
		fmt.Fprintf(std.err, "tap pcap: %v; ended because of an error: %v\n", result, err)
	default:
		fmt.Fprintf(std.err, "tap pcap: %v; ended because %s\n", result, reason)
		return exitFine
	}
	return exitError
}

// captureEnd returns the reason of the end of a capture as the end of a sentence. It returns "" if it ended because of a failure.
func captureEnd(err error) string {
	switch {
	case errors.Is(err, dump.ErrFull):
		return "--max-bytes is reached"
	case errors.Is(err, errTimeUp):
		return "the time is up"
	case errors.Is(err, errNoReader), errors.Is(err, syscall.EPIPE):
		return "the reader of the output is gone, or the input was closed"
	case errors.Is(err, context.Canceled):
		return "it was interrupted"
	}
	return ""
}

// pcapProgram returns the filters of interfaces by their link type. Without payload they truncate bulk as those of tap run do.
func pcapProgram(narrow *filter, payload bool) func(pcapfilter.Config) (pcapfilter.Program, error) {
	return func(c pcapfilter.Config) (pcapfilter.Program, error) {
		if payload {
			return compileFilter(narrow, c)
		}
		return liveProgram(narrow, c)
	}
}

// captureInterfaces returns the interfaces in a list, or in TAP_INTERFACES if the list is empty. For all it returns those that are up.
func captureInterfaces(list string, environ []string) []string {
	if list == "" {
		list = variables.Of(environ)["TAP_INTERFACES"]
	}
	names := variables.List([]string{list})
	if len(names) == 0 {
		names = []string{"eth0", "lo"}
	}
	if !slices.Contains(names, everyInterface) {
		return names
	}
	names = nil
	all, _ := net.Interfaces() // an error leaves no interface, which is reported
	for _, i := range all {
		if i.Flags&net.FlagUp != 0 && len(names) < live.MaxInterfaces {
			names = append(names, i.Name)
		}
	}
	return names
}

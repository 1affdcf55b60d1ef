package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/meshtls-tap/meshtls-tap/internal/attach"
	"github.com/meshtls-tap/meshtls-tap/internal/pcapfilter"
)

// pcapFlags are the flags of the command pcap.
type pcapFlags struct {
	attachFlags
	filter  string
	snaplen int
	payload bool
	bytes   string
	file    string
}

// maxSnaplen is the longest packet, as in `tap pcap`.
const maxSnaplen = 262144

func newPcapCommand(o *options) *cobra.Command {
	var f pcapFlags
	c := &cobra.Command{
		Use:   "pcap POD|TYPE/NAME [-f FILTER] [-o FILE|-]",
		Short: "Capture the packets of a running pod for Wireshark",
		Long: `Capture the packets of one running pod as pcapng, without a restart, to a file or to standard
output. If TYPE/NAME has several pods, the first by name is used.

By default packet headers and handshakes are written; of other payload only the first line of a TCP
connection that begins with plaintext, with x for most characters. With --payload everything is
written, which may include passwords and personal data. The capture is bounded in bytes and time. If
the connection to the cluster is too slow, packets are dropped; the last message has their number.

As with every container, the node also keeps the output in the container's log. Kubernetes deletes
the log with the pod, or earlier when it grows too large.`,
		Example: `  # Watch the packets in Wireshark while they are captured.
  kubectl meshtls pcap checkout-0 -n shop | wireshark -k -i -

  # Capture one port for a minute into a file, and then print the verdicts.
  kubectl meshtls pcap deploy/checkout -n shop -f 'tcp port 8443' --for 1m -o checkout.pcapng
  tap read checkout.pcapng`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return o.pcap(c.Context(), &f, args)
		},
	}
	f.addFlags(c, 10*time.Minute)
	must(c.Flags().MarkHidden("max-pods"))
	c.Flags().Lookup("for").Usage = "how long to capture at most"
	c.Flags().StringVarP(&f.filter, "filter", "f", "", "capture only packets that match an expression of pcap-filter(7), such as 'tcp port 8443'")
	c.Flags().IntVar(&f.snaplen, "snaplen", maxSnaplen, "maximum number of bytes captured of each packet")
	c.Flags().BoolVar(&f.payload, "payload", false, "write the payload too: it may contain passwords and personal data")
	c.Flags().StringVar(&f.bytes, "max-bytes", "64Mi", "maximum number of bytes written")
	c.Flags().StringVarP(&f.file, "output", "o", "-", "the file to write, which only its owner may read; - is standard output")
	return c
}

// command returns the command line of the container.
func (f *pcapFlags) command() ([]string, error) {
	if _, err := pcapfilter.Parse(f.filter); f.filter != "" && err != nil {
		return nil, usageErrorf("--filter=%s: %w", f.filter, err)
	}
	if f.snaplen < 1 || f.snaplen > maxSnaplen {
		return nil, usageErrorf("--snaplen=%d: expected 1 to %d", f.snaplen, maxSnaplen)
	}
	most, err := resource.ParseQuantity(f.bytes)
	if err != nil || most.Value() < 1 {
		return nil, usageErrorf("--max-bytes=%s: expected a number of bytes, such as 64Mi", f.bytes)
	}
	command := []string{
		"/tap", attach.ProgramPcap, "--wait", "--for=" + f.lasts.String(),
		"--snaplen=" + strconv.Itoa(f.snaplen), "--max-bytes=" + strconv.FormatInt(most.Value(), 10),
	}
	if f.filter != "" {
		command = append(command, "--filter="+f.filter)
	}
	if f.payload {
		command = append(command, "--payload")
	}
	return command, nil
}

// pcap is the command pcap.
func (o *options) pcap(ctx context.Context, f *pcapFlags, args []string) error {
	a, err := f.options()
	if err != nil {
		return err
	}
	if a.Command, err = f.command(); err != nil {
		return err
	}
	if out, ok := o.Out.(*os.File); f.file == "-" && ok && term.IsTerminal(int(out.Fd())) {
		return usageErrorf("standard output is a terminal: expected a pipe, such as | wireshark -k -i -, or a file with -o FILE")
	}
	a.Stdin = []byte("\n")
	client, config, err := o.client()
	if err != nil {
		return err
	}
	pods, err := o.pods(ctx, client, &selection{names: args})
	if err != nil {
		return err
	}
	if len(pods) == 0 {
		return fmt.Errorf("%s has no running pod: check the name and the namespace (-n)", args[0])
	}
	c := &attach.Client{Kube: client, Config: config}
	plan, err := c.Plan(ctx, pods[:1], a)
	if err != nil {
		return err
	}
	announce(o.ErrOut, plan.Announce())
	if plan.Refused() {
		return errNoneTapped
	}
	return o.capture(ctx, c, plan, f.file)
}

// capture copies what the container of a plan writes to a file, or to standard output.
func (o *options) capture(ctx context.Context, c *attach.Client, plan *attach.Plan, file string) (err error) {
	out := &counter{to: o.Out}
	if file != "-" {
		created, err := createPrivate(file)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, created.Close()) }()
		out.to = created
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	out.failed = stop
	ended, err := c.Pipe(ctx, plan, out, o.ErrOut)
	name := plan.Title()
	switch {
	case out.err != nil && isClosedPipe(out.err): // the reader, such as Wireshark, has ended
	case out.err != nil:
		return fmt.Errorf("write %s: %w", file, out.err)
	case err != nil:
		return fmt.Errorf("%s: the capture ended early; %s written: %w", name, choose(out.n, "1 byte was", fmt.Sprintf("%d bytes were", out.n)), err)
	case ended.Failed:
		return fmt.Errorf("%s: the capture failed: %s", name, ended.Reason)
	}
	if file != "-" {
		fmt.Fprintf(o.ErrOut, "%s: wrote %s to %s\n", name, plural(out.n, "byte"), file)
	}
	return nil
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
	return f, err
}

// isClosedPipe reports whether the reader of a pipe is gone.
func isClosedPipe(err error) bool {
	return errors.Is(err, io.ErrClosedPipe) || strings.Contains(err.Error(), "broken pipe")
}

// counter counts what is written. After a failed write it calls failed, and reports success, so that the other end is told to end first.
type counter struct {
	to     io.Writer
	n      int64
	err    error
	failed func()
}

func (c *counter) Write(b []byte) (int, error) {
	if c.err != nil {
		return len(b), nil
	}
	n, err := c.to.Write(b)
	c.n += int64(n)
	if err != nil {
		c.err = err
		c.failed()
	}
	return len(b), nil
}

package main

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/gopacket/pcapgo"

	"github.com/meshtls-tap/meshtls-tap/internal/confine"
	"github.com/meshtls-tap/meshtls-tap/internal/eventually"
)

// pcapEnd matches the last message of `tap pcap`.
var pcapEnd = regexp.MustCompile(`\ntap pcap: (\d+) packets?, (\d+) bytes?, (\d+) packets? dropped; ended because ([^\n]+)\n$`)

// TestPcapLive captures traffic with planted secrets, once without and once with payload. The file without payload has no secret that may never
// be published, and Wireshark reads it; the file with payload has them all.
func TestPcapLive(t *testing.T) {
	norace(t)
	undropped(t, pcapLive)
}

func pcapLive(t *testing.T) (dropped bool) {
	client, server := pods(t)
	needs(t, "tshark", "tshark")
	server.serve(t, "MESHTLS_SECRETS=server", server.address)
	folder := t.TempDir()
	files := map[string][]byte{}
	captures := map[string]*process{}
	for name, args := range map[string][]string{"headers": {"-o"}, "payload": {"--payload", "-o"}} {
		x := client.start(t, []string{"TAP_INTERFACES=eth0,absent0"}, append(append([]string{releasedTap(t), "pcap"}, args...), filepath.Join(folder, name))...)
		eventually.True(t, "the capture has begun", func() bool { return strings.Contains(x.log(), "tap pcap: capturing on eth0, ") }, x.log)
		captures[name] = x
	}
	client.ask(t, "MESHTLS_SECRETS=client", server.address)
	for name, x := range captures {
		x.end(t)
		end := pcapEnd.FindStringSubmatch(x.log())
		if end == nil || end[4] != "it was interrupted" || !strings.Contains(x.log(), "warning: not captured: capture on absent0: ") {
			t.Fatalf("%s: %s", name, x.log())
		}
		if end[3] != "0" {
			return true
		}
		var err error
		if files[name], err = os.ReadFile(filepath.Join(folder, name)); err != nil {
			t.Fatal(err)
		}
		checkPcap(t, name, files[name], end[1], end[2])
	}

	hidden := 0
	text := strings.ToLower(string(files["headers"]))
	for _, s := range newTraffic().secrets {
		if !s.encrypted && !bytes.Contains(files["payload"], []byte(s.wire)) {
			t.Errorf("with --payload the secret %q is missing", s.place)
		}
		if s.level != never || strings.Contains(s.place, "certificate extension") { // of a certificate, which is not encrypted
			continue
		}
		hidden++
		if at := slices.IndexFunc(encodings(secret(s.place)), func(e string) bool { return strings.Contains(text, e) }); at >= 0 {
			t.Errorf("without --payload the file has %q: %q", s.place, around(text, encodings(secret(s.place))[at]))
		}
	}
	if hidden < 50 {
		t.Errorf("only %d secrets", hidden)
	}
	hellos := confine.Tshark(t, filepath.Join(folder, "headers"), "-Y", "tls.handshake.type == 1", "-T", "fields", "-e", "tls.handshake.extensions_server_name")
	if want := confine.Tshark(t, filepath.Join(folder, "payload"), "-Y", "tls.handshake.type == 1", "-T", "fields", "-e", "tls.handshake.extensions_server_name"); hellos != want || strings.Count(hellos, "\n") < 2 {
		t.Errorf("ClientHellos %q, with payload %q", hellos, want)
	}
	return false
}

// checkPcap checks that a file has as many packets and bytes as its capture reported, and statistics.
func checkPcap(t *testing.T, name string, file []byte, packets, size string) {
	t.Helper()
	r, err := pcapgo.NewNgReader(bytes.NewReader(file), pcapgo.NgReaderOptions{WantMixedLinkType: true})
	if err != nil {
		t.Fatal(err)
	}
	n, last := 0, time.Time{}
	for ; ; n++ {
		_, ci, err := r.ReadPacketData()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		last = ci.Timestamp
	}
	i, err := r.Interface(0)
	if err != nil || i.Name != "eth0" || i.Statistics.PacketsDropped != 0 || int(i.Statistics.PacketsReceived) != n {
		t.Errorf("%s: %v, %+v, %d packets", name, err, i, n)
	}
	if packets != strconv.Itoa(n) || size != strconv.Itoa(len(file)) || time.Since(last).Abs() > time.Hour {
		t.Errorf("%s: %d packets in %d bytes; reported were %s in %s", name, n, len(file), packets, size)
	}
}

// TestPcapEnds: each reason for which `tap pcap` ends, and its exit status.
func TestPcapEnds(t *testing.T) {
	t.Parallel()
	client, server := pods(t)
	send := func(t *testing.T) {
		c, err := client.dial(t.Context(), "udp", "127.0.0.1:9")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for range 100 {
			if _, err := c.Write(make([]byte, 1000)); err != nil && !errors.Is(err, syscall.ECONNREFUSED) {
				t.Fatal(err)
			}
		}
	}
	for name, c := range map[string]struct {
		args   []string
		end    func(t *testing.T, x *process, out io.Closer)
		reason string
		status int
		file   bool // the output is read to its end, and is a whole file
	}{
		"time":      {[]string{"--for=1s"}, func(*testing.T, *process, io.Closer) {}, "the time is up", exitFine, true},
		"SIGTERM":   {nil, func(_ *testing.T, x *process, _ io.Closer) { x.Process.Signal(syscall.SIGTERM) }, "it was interrupted", exitFine, true},
		"SIGINT":    {nil, func(_ *testing.T, x *process, _ io.Closer) { x.Process.Signal(syscall.SIGINT) }, "it was interrupted", exitFine, true},
		"input":     {nil, func(_ *testing.T, x *process, _ io.Closer) { x.in.Close() }, "the reader of the output is gone, or the input was closed", exitFine, true},
		"output":    {nil, func(_ *testing.T, _ *process, out io.Closer) { out.Close() }, "the reader of the output is gone, or the input was closed", exitFine, false},
		"bytes":     {[]string{"--max-bytes=4Ki"}, func(t *testing.T, _ *process, _ io.Closer) { send(t) }, "--max-bytes is reached", exitFine, true},
		"interface": {[]string{"--interface=gone0"}, func(t *testing.T, _ *process, _ io.Closer) { ip(t, "-n", client.name, "link", "del", "gone0") }, "of an error: capture on gone0: receive: no such interface: it was deleted or moved: open it again when it exists", exitError, true},
	} {
		t.Run(name, func(t *testing.T) {
			if name == "interface" {
				cable(t, client, server, "gone0", "10.78.0")
			}
			x, out := client.startUnread(t, []string{"TAP_INTERFACES=lo"}, append([]string{buildTap(t), "pcap"}, c.args...)...)
			eventually.True(t, "the capture has begun", func() bool { return strings.Contains(x.log(), "tap pcap: capturing on ") }, x.log)
			var file []byte
			read := make(chan error, 1)
			if c.file {
				go func() {
					var err error
					file, err = io.ReadAll(out)
					read <- err
				}()
			}
			c.end(t, x, out.(io.Closer))
			if c.file {
				if err := <-read; err != nil {
					t.Fatal(err)
				}
			}
			_ = x.Wait()
			end := pcapEnd.FindStringSubmatch(x.log())
			if got := x.ProcessState.ExitCode(); got != c.status || end == nil || end[4] != c.reason {
				t.Fatalf("exit status %d: %s", got, x.log())
			}
			if c.file && (strconv.Itoa(len(file)) != end[2] || len(file) > 4<<10 && name == "bytes" || len(file) < 100) {
				t.Errorf("%d bytes: %s", len(file), x.log())
			}
		})
	}
	t.Run("nobody reads", func(t *testing.T) {
		x, _ := client.startUnread(t, []string{"TAP_INTERFACES=lo"}, buildTap(t), "pcap", "--payload")
		eventually.True(t, "the capture has begun", func() bool { return strings.Contains(x.log(), "tap pcap: capturing on lo, with payload, ") }, x.log)
		for range 3 { // 300 KB, more than a pipe has room for
			send(t)
		}
		x.Process.Signal(syscall.SIGTERM)
		_ = x.Wait()
		if got := x.ProcessState.ExitCode(); got != exitError || !strings.HasSuffix(x.log(), "tap pcap: nobody reads the output, which may be incomplete\n") {
			t.Errorf("exit status %d: %s", got, x.log())
		}
	})
}

// TestPcapUsage: invalid arguments, each with what was expected.
func TestPcapUsage(t *testing.T) {
	for want, args := range map[string]string{
		`tap pcap: unexpected argument "tcp": an expression belongs to --filter; see "tap pcap --help"`:       "tcp",
		`tap pcap: --snaplen=0: expected 1 to 262144; see "tap pcap --help"`:                                  "--snaplen=0",
		`tap pcap: --for=-1s: expected a duration such as 10m; see "tap pcap --help"`:                         "--for=-1s",
		`tap pcap: --max-bytes=x: expected a number of bytes, such as 1000000 or 64Mi; see "tap pcap --help"`: "--max-bytes=x",
		"tap pcap: --filter: ": "--filter=prot",
	} {
		var out, errs bytes.Buffer
		if status := command(t.Context(), append([]string{"pcap"}, args), nil, streams{strings.NewReader(""), &out, &errs}); status != exitUsage || !strings.HasPrefix(errs.String(), want) || out.Len() > 0 {
			t.Errorf("%s: exit status %d: %s", args, status, &errs)
		}
	}
	var names []string
	all, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range all {
		if i.Flags&net.FlagUp != 0 {
			names = append(names, i.Name)
		}
	}
	for _, c := range []struct {
		list    string
		environ []string
		want    []string
	}{
		{"", nil, []string{"eth0", "lo"}},
		{"", []string{"TAP_INTERFACES=net1"}, []string{"net1"}},
		{"a, b", []string{"TAP_INTERFACES=net1"}, []string{"a", "b"}},
		{"all", nil, names[:min(len(names), 8)]},
	} {
		if got := captureInterfaces(c.list, c.environ); !slices.Equal(got, c.want) {
			t.Errorf("%q, %q: %q, want %q", c.list, c.environ, got, c.want)
		}
	}
}

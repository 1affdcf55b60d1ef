//go:build linux

package main

import (
	"fmt"
	"os"
	"os/exec"
)

// reader is a program that reads a capture file.
type reader struct {
	name string
	args []string // FILE is replaced by the path of the capture
	goal float64  // the tap's CPU time may be at most goal times this program's; 0: no goal
}

// readers returns the tap and the programs that it is compared with.
func (b *bench) readers() []reader {
	fields := []string{"tshark", "-n", "-r", "FILE", "-T", "fields"}
	for _, f := range []string{
		"frame.time_epoch", "ip.src", "ip.dst", "tcp.srcport", "tcp.dstport", "tls.record.version", "tls.handshake.type", "tls.handshake.version",
		"tls.handshake.ciphersuite", "tls.handshake.extensions_server_name", "tls.handshake.extensions.supported_version",
		"tls.handshake.ja3", "tls.handshake.certificate_length", "http.request.method", "http.response.code",
	} {
		fields = append(fields, "-e", f)
	}
	tap := []string{b.tap, "read", "--output=json", "--emit=flows", "FILE"}
	readers := []reader{
		{"tap", tap, 0},
		{"tap again", tap, 0}, // its difference from the first tap is the noise
		{"tcpdump -w", []string{"tcpdump", "-r", "FILE", "-w", "/dev/null"}, 1.5},
		{"argus", []string{"argus", "-r", "FILE", "-w", "/dev/null"}, 1},
		{"softflowd", []string{"softflowd", "-d", "-r", "FILE", "-n", "127.0.0.1:9"}, 0},
		{"ndpiReader", []string{"ndpiReader", "-i", "FILE", "-q"}, 1.0 / 5},
		{"tshark fields", fields, 1.0 / 40},
	}
	if b.base != "" {
		readers = append(readers, reader{baseName, append([]string{b.base}, tap[1:]...), 1.1})
	}
	return readers
}

// baseName is the name of the other build of the tap (flag -base) in tables.
const baseName = "the base tap"

// offline measures how the tap and other programs read the mixed capture, one after the other. It leaves out programs
// that are not installed.
func (b *bench) offline() ([]result, error) {
	file, err := mixed(b.dir)
	if err != nil {
		return nil, err
	}
	readers := b.readers()
	cpu, rss, wall := make([]sample, len(readers)), make([]sample, len(readers)), make([]sample, len(readers))
	for round := range b.rounds {
		for i := range readers {
			k := (i + round) % len(readers) // in each round another reader is first
			r := readers[k]
			if _, err := exec.LookPath(r.args[0]); err != nil {
				continue
			}
			if err := warm(file); err != nil { // the previous program may have displaced the file from the page cache
				return nil, err
			}
			u, err := b.read(r, file)
			if err != nil {
				return nil, err
			}
			cpu[k], rss[k], wall[k] = append(cpu[k], u.cpu.Seconds()), append(rss[k], mb(u.rss)), append(wall[k], u.wall.Seconds())
		}
	}
	lines := [][]string{{"reader", "CPU s", "wall s", "RSS MB", "tap's CPU to its"}}
	results := []result{atMost("offline: RSS of tap read, MB", rss[0], "%.1f", 48)}
	for k, r := range readers {
		if len(cpu[k]) == 0 {
			progress("  %s is not installed and is left out", r.args[0])
			continue
		}
		ratio := cpu[0].over(cpu[k])
		lines = append(lines, []string{r.name, cpu[k].spread("%.3f"), fmt.Sprintf("%.2f", wall[k].median()), fmt.Sprintf("%.1f", rss[k].median()), ratio.spread("%.3f")})
		if r.goal > 0 {
			results = append(results, atMost("offline: CPU of tap read to "+r.name, ratio, "%.3f", r.goal))
		}
	}
	columns(lines...)
	progress("  %s", pageCache(file))
	return results, nil
}

// read runs one reader on a capture file.
func (b *bench) read(r reader, file string) (usage, error) {
	args := make([]string, len(r.args))
	for i, a := range r.args {
		if a == "FILE" {
			a = file
		}
		args[i] = a
	}
	p, err := start("", nil, nil, nil, nil, args...)
	if err != nil {
		return usage{}, err
	}
	return p.wait()
}

// warm reads a file once, so that it is in the page cache.
func warm(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	b := make([]byte, 1<<20)
	for {
		if n, _ := f.Read(b); n == 0 {
			return nil
		}
	}
}

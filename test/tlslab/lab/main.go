// Command lab lets real TLS stacks talk to each other in network namespaces that it
// makes, captures what goes over the wire, and writes down what each server says of its
// connections: captures and a manifest for tests.
//
// The truth in the manifest comes from the servers' own logs and from what they were
// told to do, never from the packets. It needs root on Linux, ip, tcpdump and openssl;
// a stack that is missing is skipped, with its reason.
//
//	lab [-out DIR] [-work DIR] [-peers DIR] [REGEXP]
package main

import (
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"syscall"
)

// lab is one run.
type lab struct {
	out   string // captures and manifest
	work  string // certificates, logs, what is built
	peers string // sources of the peers that are not programs of their own
	certs *certificates
	which string // name of the case being run
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "peer" {
		os.Exit(goPeer(os.Args[2:]))
	}
	l := &lab{}
	flag.StringVar(&l.out, "out", "testdata", "`folder` for captures and manifest.tsv")
	flag.StringVar(&l.work, "work", "work", "`folder` for certificates, logs and what is built")
	flag.StringVar(&l.peers, "peers", "peers", "`folder` with the sources of peers")
	flag.Parse()
	if err := l.run(flag.Arg(0)); err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
		os.Exit(1)
	}
}

func (l *lab) run(filter string) error {
	match, err := regexp.Compile(filter)
	if err != nil {
		return err
	}
	for _, dir := range []*string{&l.out, &l.work, &l.peers} {
		if *dir, err = filepath.Abs(*dir); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(l.work, 0o755); err != nil {
		return err
	}
	if l.certs, err = newCertificates(filepath.Join(l.work, "certs")); err != nil {
		return err
	}
	if err := makeNetwork(); err != nil {
		return err
	}
	defer removeNetwork()
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(stop)

	manifest, err := readManifest(filepath.Join(l.out, "manifest.tsv"))
	if err != nil {
		return err
	}
	failed := 0
	stacks, all := l.stacks(), cases()
	if err := manifest.keep(all); err != nil {
		return err
	}
	for _, c := range all {
		if !match.MatchString(c.file()) {
			continue
		}
		select {
		case <-stop:
			return fmt.Errorf("stopped")
		default:
		}
		rows, err := l.runCase(stacks, c)
		switch {
		case err != nil:
			failed++
			fmt.Printf("FAIL %s: %v\n", c.file(), err)
			continue
		case rows == nil:
			continue // skipped, the reason is printed
		}
		manifest.replace(c.file(), rows)
		for _, r := range rows {
			fmt.Println(r)
		}
	}
	if err := manifest.write(); err != nil {
		return err
	}
	if failed > 0 {
		return fmt.Errorf("%d cases failed", failed)
	}
	return nil
}

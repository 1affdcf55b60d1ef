// Command lab lets real TLS stacks talk to each other in network namespaces that it creates. It captures their packets and
// records what each server reports about its connections: captures and a manifest for tests.
//
// The truth in the manifest comes from the servers' own logs and from their configuration, never from the packets. The lab
// needs Linux, root, ip, tcpdump and openssl. A missing stack is skipped, with the reason.
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

// lab is one run of the program.
type lab struct {
	out   string // captures and manifest
	work  string // for certificates, logs, and programs that the lab builds
	peers string // sources of the lab's own peer programs
	certs *certificates
	which string // the file name of the current case
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "peer" {
		os.Exit(goPeer(os.Args[2:]))
	}
	l := &lab{}
	flag.StringVar(&l.out, "out", "testdata", "`folder` for captures and manifest.tsv")
	flag.StringVar(&l.work, "work", "work", "`folder` for certificates, logs and built programs")
	flag.StringVar(&l.peers, "peers", "peers", "`folder` with the sources of peer programs")
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
			continue // the case is skipped, and the reason was printed
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

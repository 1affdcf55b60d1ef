//go:build linux

// Command bench measures the tap against its peers and against no tap at all: `make
// bench`. What runs live runs in network namespaces that it makes and deletes.
//
// Whatever is compared runs in turn, round by round, on one machine: ratios of CPU time
// are what counts, their medians are what is printed.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// bench is one run.
type bench struct {
	tap    string // the program
	base   string // another build of it, to compare with in the same run; empty: none
	self   string // this one
	dir    string // of what is made once
	rounds int
	quick  bool
}

// experiments by name, in the order in which they run. The last ones run only when asked
// for.
var experiments = []struct {
	name  string
	about string
	asked bool
	run   func(*bench) ([]result, error)
}{
	{"offline", "a mixed capture, read by the tap and its peers", false, (*bench).offline},
	{"work", "time and allocations for a packet and a connection, beside gopacket", false, (*bench).work},
	{"flood", "small frames of 5,000 connections", false, (*bench).flooded},
	{"bulk", "one stream at full speed, with segmentation offload", false, (*bench).bulk},
	{"https", "requests by TLS on eth0, on connections kept alive and on new ones", false, (*bench).https},
	{"http", "the same in the clear on lo", false, (*bench).http},
	{"memory", "resident memory, at idle and with connections", false, (*bench).memory},
	{"scale", "cost as connections grow", false, (*bench).scale},
	{"start", "start, idle, size", false, (*bench).beginning},
	{"soak", "a million connections in ten minutes", true, (*bench).soak},
}

func progress(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

func main() {
	if err := command(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func command(args []string) error {
	if len(args) > 0 {
		if role := roles[args[0]]; role != nil {
			return role(args[1:])
		}
	}
	b := &bench{}
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.StringVar(&b.tap, "tap", "bin/tap", "the tap")
	f.StringVar(&b.base, "base", "", "another build of the tap, which is measured in turn with it: \"the tap before\"")
	f.StringVar(&b.dir, "dir", ".cache/bench", "where to keep what is made once")
	f.IntVar(&b.rounds, "rounds", 5, "rounds of each experiment")
	f.BoolVar(&b.quick, "quick", false, "shorter, to see that it works: the figures mean little")
	only := f.String("only", "", "experiments, with commas between them; default all but those that take long")
	if err := f.Parse(args); err != nil {
		return err
	}
	return b.all(strings.FieldsFunc(*only, func(r rune) bool { return r == ',' || r == ' ' }))
}

// all runs the experiments and prints one table.
func (b *bench) all(only []string) error {
	for _, name := range only {
		if !slices.Contains(names(), name) {
			return fmt.Errorf("%q: expected some of %s", name, strings.Join(names(), ", "))
		}
	}
	if err := b.locate(); err != nil {
		return err
	}
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt, syscall.SIGTERM)
	on := machine()
	progress("machine: %s", on)
	var results []result
	var failed error
	for _, e := range experiments {
		if len(only) == 0 && e.asked || len(only) > 0 && !slices.Contains(only, e.name) {
			continue
		}
		progress("%s: %s", e.name, e.about)
		r, err := e.run(b)
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s: %w", e.name, err))
		}
		results = append(results, r...)
		if len(interrupted) > 0 {
			failed = errors.Join(failed, errors.New("interrupted"))
			break
		}
	}
	fmt.Printf("on %s; at the end: load average %s\n", on, file("/proc/loadavg"))
	table(results)
	return failed
}

// locate finds the tap, and this program to start it again.
func (b *bench) locate() (err error) {
	if b.tap, err = filepath.Abs(b.tap); err != nil {
		return err
	}
	if _, err = exec.LookPath(b.tap); err != nil {
		return err
	}
	if b.base != "" {
		if b.base, err = filepath.Abs(b.base); err != nil {
			return err
		}
		if _, err = exec.LookPath(b.base); err != nil {
			return err
		}
	}
	b.self, err = os.Executable()
	return err
}

func names() []string {
	var out []string
	for _, e := range experiments {
		out = append(out, e.name)
	}
	return out
}

// roles are what this program does when it has started itself in a namespace.
var roles = map[string]func([]string) error{
	"send":     send,
	"ethernet": watchEthernet,
	"serve":    serve,
}

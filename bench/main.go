//go:build linux

// Command bench (`make bench`) measures the tap, other capture programs, and for comparison the machine while none of them runs.
// The live experiments run in network namespaces that it creates and deletes.
//
// The programs that are compared run in turn, round by round, on one machine. It divides their CPU times within each round and prints
// the median of these ratios.
//
//	bench [-tap FILE] [-base FILE] [-dir DIR] [-rounds N] [-quick] [-only NAME,...]
//	bench send|serve|ethernet ...     a role: bench starts itself this way in a network namespace
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
	tap    string // path of the tap
	base   string // path of another build of the tap to compare with, or empty
	self   string // path of this program
	dir    string // directory of the captures that are generated once
	rounds int
	quick  bool
}

// experiments lists the measurements in their order. If asked is set, the experiment runs only if -only names it.
var experiments = []struct {
	name  string
	about string
	asked bool
	run   func(*bench) ([]result, error)
}{
	{"offline", "a mixed capture, read by the tap and its peers", false, (*bench).offline},
	{"work", "time and allocations for a packet and a connection, compared with gopacket", false, (*bench).work},
	{"flood", "small frames of 5,000 connections", false, (*bench).flooded},
	{"bulk", "one stream at full speed, with segmentation offload", false, (*bench).bulk},
	{"https", "requests by TLS on eth0, on connections that are kept alive and on new ones", false, (*bench).https},
	{"http", "the same in plaintext on lo", false, (*bench).http},
	{"memory", "resident memory, at idle and with connections", false, (*bench).memory},
	{"scale", "CPU time as the number of connections grows", false, (*bench).scale},
	{"start", "start, idle, size", false, (*bench).startup},
	{"churn", "a million connections in ten minutes", true, (*bench).churn},
}

// progress prints a line to standard error.
func progress(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

func main() {
	if err := command(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// command plays the role that args[0] names, or runs the experiments.
func command(args []string) error {
	if len(args) > 0 {
		if role := roles[args[0]]; role != nil {
			return role(args[1:])
		}
	}
	b := &bench{}
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.StringVar(&b.tap, "tap", "bin/tap", "the tap")
	f.StringVar(&b.base, "base", "", "another build of the tap (\"the base tap\"), measured in turn with it")
	f.StringVar(&b.dir, "dir", ".cache/bench", "directory for captures that are generated once")
	f.IntVar(&b.rounds, "rounds", 5, "rounds of each experiment")
	f.BoolVar(&b.quick, "quick", false, "shorter runs that only show that bench works: their figures mean little")
	only := f.String("only", "", "experiments, separated by commas; default: all except churn")
	if err := f.Parse(args); err != nil {
		return err
	}
	return b.all(strings.FieldsFunc(*only, func(r rune) bool { return r == ',' || r == ' ' }))
}

// all runs the experiments whose names are in only, or the default ones if only is empty. It prints one table. If an
// experiment fails, the others still run.
func (b *bench) all(only []string) error {
	for _, name := range only {
		if !slices.Contains(names(), name) {
			return fmt.Errorf("unknown experiment %q: expected %s", name, strings.Join(names(), ", "))
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

// locate makes the paths absolute, checks that the builds of the tap can be executed, and finds this program's own path.
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

// names returns the names of all experiments.
func names() []string {
	var out []string
	for _, e := range experiments {
		out = append(out, e.name)
	}
	return out
}

// roles maps the name of each role to its function. If the first argument of this program is such a name, the program
// plays that role, in a network namespace.
var roles = map[string]func([]string) error{
	"send":     send,
	"ethernet": captureEthernet,
	"serve":    serve,
}

// Command tap reports whether traffic is mutual TLS, by looking only at packets.
//
//	tap run          capture in a pod and publish what is found (configured by the environment)
//	tap wait         wait until the tap of this container captures (a postStart hook)
//	tap check        check whether records can be published
//	tap topics       check the Kafka topics, or create them
//	tap read FILE    judge capture files
//	tap filter EXPR  compile a filter expression and print the program
//	tap schema       print the published record's JSON Schema
//	tap version      print the version
//
// Each command writes its results to standard output, and everything else to standard
// error. Exit status: 0 success, 1 an error, 2 usage, 3 a hit of `read --fail-on`, or an edge
// that lost mutual TLS between `read --before` and `--after`.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/meshtls-tap/meshtls-tap/schema"
)

// The linker sets version to the tag, and commit to the full hash of the commit that was built.
var (
	version = "dev"
	commit  string
)

// Exit statuses.
const (
	exitFine  = 0
	exitError = 1
	exitUsage = 2
	exitHit   = 3 // a hit of --fail-on, or an edge that lost mutual TLS
)

// streams are the standard streams of a command.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

const usage = `Usage: tap COMMAND [ARGUMENTS]

Reports whether traffic is mutual TLS, TLS or plaintext, by looking only at packets.

Commands:
  run      capture in a pod and publish what is found; configured by the environment
  wait     wait until the tap of this container captures, for a second at most
  check    check whether records can be published, and print what to do if not
  topics   check the Kafka topics, or create them
  read     judge capture files (pcap, pcapng), or compare traffic before and after a change
  filter   compile a filter expression and print the program
  schema   print the JSON Schema of the published record
  version  print the version

"tap COMMAND --help" describes a command. Exit status: 0 success, 1 an error, 2 usage.
`

// errUsage marks an error in how a command was called. Its text has one line, which names the argument and what was expected.
var errUsage = errors.New("usage")

func main() {
	std := streams{os.Stdin, os.Stdout, os.Stderr}
	os.Exit(command(context.Background(), os.Args[1:], os.Environ(), std))
}

// command runs one command and returns its exit status.
func command(ctx context.Context, args, environ []string, std streams) int {
	if len(args) == 0 {
		fmt.Fprint(std.err, usage)
		return exitUsage
	}
	name, args := args[0], args[1:]
	var status int
	var err error
	switch name {
	case "run":
		err = run(ctx, args, environ, std)
	case "wait":
		wait(args, environ, std)
	case "check":
		err = check(ctx, args, environ, std)
	case "topics":
		err = topics(ctx, args, environ, std)
	case "read":
		status, err = read(args, std)
	case "filter":
		err = printFilter(args, std)
	case "schema":
		err = printOnly(name, args, std, string(schema.JSON))
	case "version", "--version", "-version":
		err = printOnly(name, args, std, versionLine())
	case "help", "--help", "-help", "-h":
		_, err = io.WriteString(std.out, usage)
	default:
		err = fmt.Errorf(`%w: unknown command %q: expected run, wait, check, topics, read, filter, schema or version; see "tap --help"`, errUsage, name)
	}
	return conclude(name, status, err, std)
}

// conclude prints err and turns it into an exit status.
func conclude(name string, status int, err error, std streams) int {
	switch {
	case err == nil:
		return status
	case errors.Is(err, errHelp):
		return exitFine
	case errors.Is(err, errUsage):
		fmt.Fprintf(std.err, "tap: %s\n", trimUsage(err))
		return exitUsage
	}
	fmt.Fprintf(std.err, "tap %s: %v\n", name, err)
	if status != exitFine {
		return status
	}
	return exitError
}

func printOnly(name string, args []string, std streams, text string) error {
	if len(args) == 1 && (args[0] == "--help" || args[0] == "-help" || args[0] == "-h") {
		_, err := fmt.Fprintf(std.out, "Usage: tap %s\n", name)
		return err
	}
	if len(args) > 0 {
		return fmt.Errorf(`%w: tap %s: unexpected argument %q: expected none; see "tap --help"`, errUsage, name, args[0])
	}
	_, err := io.WriteString(std.out, text)
	return err
}

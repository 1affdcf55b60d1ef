// Command tap reports whether traffic is mutual TLS, by looking only at packets.
//
//	tap run          capture in a pod and publish what is found (configured by the environment)
//	tap wait         wait until the tap of this container captures (a postStart hook)
//	tap check        check whether a tap can capture and publish
//	tap topics       check the Kafka topics, or create them
//	tap read FILE    judge capture files
//	tap pcap         capture packets for Wireshark
//	tap request AT   send one request from the pod, for a tap to judge
//	tap filter EXPR  compile a filter expression and print the program
//	tap schema       print the published record's JSON Schema
//	tap completion   print the completion for a shell
//	tap man          print a manual page
//	tap version      print the version
//
// Each command writes its results to standard output, and everything else to standard
// error. Exit status: 0 success, 1 an error, 2 usage, 3 a hit of `read --fail-on`, or an edge
// that lost mutual TLS between `read --before` and `--after`; 4 `read` had nothing to judge
// for `--fail-on`, or nothing to compare.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

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
	exitBlind = 4 // no connection was judged with --fail-on, or no edge could be compared
)

// streams are the standard streams of a command.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// errUsage marks an error in how a command was called. Its text has one line, which names the argument and what was expected.
var errUsage = errors.New("usage")

func main() {
	std := streams{os.Stdin, os.Stdout, os.Stderr}
	os.Exit(command(context.Background(), os.Args[1:], os.Environ(), std))
}

// command runs one command and returns its exit status.
func command(ctx context.Context, args, environ []string, std streams) int {
	if len(args) == 0 {
		fmt.Fprint(std.err, usage())
		return exitUsage
	}
	name, args := args[0], args[1:]
	if slices.Contains(helpWords, name) && len(args) == 1 {
		name, args = args[0], []string{"--help"}
	}
	if len(args) == 1 && args[0] == "help" {
		args = []string{"--help"}
	}
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
		status, err = read(ctx, args, std)
	case "pcap":
		status, err = pcap(ctx, args, environ, std)
	case "request":
		status, err = request(ctx, args, std)
	case "filter":
		err = printFilter(args, std)
	case "schema":
		var text string
		if text, err = schema.Text(); err == nil {
			err = printOnly(schemaHelp, args, std, text)
		}
	case "completion":
		err = completion(args, std)
	case "complete":
		err = complete(args, std)
	case "man":
		err = manual(args, std)
	case "version", "--version", "-version":
		err = printOnly(versionHelp, args, std, versionLine())
	case "help", "--help", "-help", "-h":
		err = printOnly(usage(), args, std, usage())
	default:
		err = fmt.Errorf(`%w: unknown command %q%s: expected one of %s; see "tap --help"`, errUsage, name, didYouMean(name, "", commandNames()), strings.Join(commandNames(), ", "))
		return conclude("tap", status, err, std)
	}
	return conclude("tap "+name, status, err, std)
}

// helpWords are the words that ask for help.
var helpWords = []string{"help", "--help", "-help", "-h"}

const schemaHelp = `Usage: tap schema

Prints the JSON Schema of the published record, in the Elastic Common Schema (TAP_FORMAT=ecs).

Example:
  tap schema > record.schema.json
`

const versionHelp = `Usage: tap version

Prints the version, the platform, the version of Go and, if they are known, the commit, and in FIPS 140-3 mode the version of
Go's cryptographic module.

Example:
  tap version
`

// conclude prints err, with prefix before each of its lines, and turns it into an exit status.
func conclude(prefix string, status int, err error, std streams) int {
	switch {
	case err == nil:
		return status
	case errors.Is(err, errHelp):
		return exitFine
	case errors.Is(err, errUsage):
		status = exitUsage
	case status == exitFine:
		status = exitError
	}
	printLines(std.err, prefix, trimUsage(err))
	return status
}

// printLines writes each line of a text after prefix.
func printLines(w io.Writer, prefix, text string) {
	for line := range strings.SplitSeq(text, "\n") {
		fmt.Fprintf(w, "%s: %s\n", prefix, line)
	}
}

func printOnly(help string, args []string, std streams, text string) error {
	if len(args) == 1 && slices.Contains(helpWords[1:], args[0]) {
		text, args = help, nil
	}
	if len(args) > 0 {
		return fmt.Errorf(`%w: unexpected argument %q: expected none; see "tap --help"`, errUsage, args[0])
	}
	_, err := io.WriteString(std.out, text)
	return err
}

// Command tap-webhook is the admission server that puts the tap into pods, and its
// controller. Everything is set by the environment: webhook/README.md says what.
//
// Exit status: 0 told to end, 1 an error, 2 a setting that cannot be used.
package main

import (
	"context"
	"crypto/fips140"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/meshtls-tap/meshtls-tap/webhook"
)

// The linker sets both: version to the tag, commit to the full hash of the commit that was built.
var (
	version = "dev"
	commit  string
)

// Exit statuses.
const (
	exitFine  = 0
	exitError = 1
	exitUsage = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	status := command(ctx, os.Args[1:], os.Environ(), os.Stdout, os.Stderr)
	stop()
	os.Exit(status)
}

// versionLine returns the program's version and, where they are known, its commit and the version of Go's cryptographic module
// (in FIPS 140-3 mode).
func versionLine() string {
	line := "tap-webhook " + version
	if commit != "" {
		line += " commit " + commit
	}
	if fips140.Enabled() {
		line += " fips140 " + fips140.Version()
	}
	return line + "\n"
}

// command runs the webhook, or says what it was asked for.
func command(ctx context.Context, args, environ []string, out, errs io.Writer) int {
	if len(args) > 0 {
		switch args[0] {
		case "version", "--version", "-version":
			fmt.Fprint(out, versionLine())
			return exitFine
		case "check":
			return check(ctx, environ, out, errs)
		case "--check", "-check":
			return usable(environ, errs)
		case "help", "--help", "-help", "-h":
			fmt.Fprint(out, help())
			return exitFine
		}
		fmt.Fprintf(errs, "tap-webhook: unexpected argument %q: everything is set by the environment; see \"tap-webhook --help\"\n", args[0])
		return exitUsage
	}
	cfg, err := configuration(environ, errs)
	if err != nil {
		return unusable(err, errs)
	}
	if err := webhook.Run(ctx, cfg); err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintf(errs, "tap-webhook: %v\n", err)
		return exitError
	}
	return exitFine
}

// usable reports whether the environment can be used, and starts nothing.
func usable(environ []string, errs io.Writer) int {
	if _, err := configuration(environ, errs); err != nil {
		return unusable(err, errs)
	}
	return exitFine
}

func unusable(err error, errs io.Writer) int {
	fmt.Fprintf(errs, "tap-webhook: %v; see \"tap-webhook --help\"\n", err)
	return exitUsage
}

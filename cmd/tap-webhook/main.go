// Command tap-webhook runs the webhook: the admission server that adds the tap to pods, and the controllers.
// Environment variables configure it: webhook/README.md lists them.
//
// Exit status: 0 after SIGTERM or SIGINT, 1 after an error, 2 for an invalid setting.
package main

import (
	"context"
	"crypto/fips140"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/meshtls-tap/meshtls-tap/webhook"
)

// The linker sets both variables: version to the tag, commit to the full hash of the commit that was built.
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

// versionLine returns the output of `tap-webhook version`: the version, the commit if it is known, and in FIPS 140-3 mode the version of
// Go's cryptographic module.
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

// command runs the command that args name. Without arguments it runs the webhook. It returns the exit status.
func command(ctx context.Context, args, environ []string, out, errs io.Writer) int {
	if len(args) > 0 {
		switch args[0] {
		case "version", "--version", "-version":
			fmt.Fprint(out, versionLine())
			return exitFine
		case "check":
			return check(ctx, environ, out, errs)
		case "--check", "-check":
			for _, name := range unknown(environ) {
				fmt.Fprintf(errs, "tap-webhook: warning: %s: this version has no such variable\n", name)
			}
			return usable(environ, errs)
		case "help", "--help", "-help", "-h":
			fmt.Fprint(out, help())
			return exitFine
		}
		fmt.Fprintf(errs, "tap-webhook: unexpected argument %q: the environment has all settings; see \"tap-webhook --help\"\n", args[0])
		return exitUsage
	}

	cfg, err := configuration(environ, errs)
	if err != nil {
		return unusable(err, errs)
	}
	for _, name := range unknown(environ) {
		cfg.Log.Warn("a variable is unknown to this version; see tap-webhook --help", "variable", name)
	}
	if err := webhook.Run(ctx, cfg); err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintf(errs, "tap-webhook: %v\n", err)
		return exitError
	}
	return exitFine
}

// usable checks the environment and returns the exit status.
func usable(environ []string, errs io.Writer) int {
	if _, err := configuration(environ, errs); err != nil {
		return unusable(err, errs)
	}
	return exitFine
}

// unusable prints an error about the environment, with the program's name before each line, and returns the exit status.
func unusable(err error, errs io.Writer) int {
	fmt.Fprintf(errs, "tap-webhook: %s; see \"tap-webhook --help\"\n", strings.ReplaceAll(err.Error(), "\n", "\ntap-webhook: "))
	return exitUsage
}

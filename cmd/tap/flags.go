package main

import (
	"crypto/fips140"
	"errors"
	"flag"
	"fmt"
	"io"
	"runtime"
	"strings"
)

// errHelp reports that the user asked for help, which was printed.
var errHelp = errors.New("help")

// flags is a flag set that accepts flags and arguments in any order. Its errors are usage errors of one line.
type flags struct {
	*flag.FlagSet
	command, help string
}

func newFlags(command, help string) *flags {
	f := &flags{flag.NewFlagSet(command, flag.ContinueOnError), command, help}
	f.SetOutput(io.Discard)
	f.FlagSet.Usage = func() {}
	return f
}

// parse parses the flags and returns the arguments that are not flags. No argument after "--" is a flag.
func (f *flags) parse(args []string, out io.Writer) (rest []string, err error) {
	for {
		if err := f.Parse(args); errors.Is(err, flag.ErrHelp) {
			_, err = io.WriteString(out, f.help)
			return nil, errors.Join(err, errHelp)
		} else if err != nil {
			return nil, f.wrong("%s", strings.Replace(err.Error(), "provided but not defined", "not known", 1))
		}
		left := f.Args()
		if n := len(args) - len(left); len(left) == 0 || n > 0 && args[n-1] == "--" {
			return append(rest, left...), nil
		}
		rest, args = append(rest, left[0]), left[1:]
	}
}

// wrong returns a usage error of this command.
func (f *flags) wrong(format string, args ...any) error {
	return fmt.Errorf(`%w: tap %s: %s; see "tap %s --help"`, errUsage, f.command, fmt.Sprintf(format, args...), f.command)
}

// trimUsage returns the text of a usage error without the prefix "usage: ", which errUsage adds.
func trimUsage(err error) string { return strings.TrimPrefix(err.Error(), errUsage.Error()+": ") }

// versionLine returns the program's version, platform and Go version. If they are known, it adds the commit and, in FIPS 140-3
// mode, the version of Go's cryptographic module.
func versionLine() string {
	line := fmt.Sprintf("tap %s %s/%s %s", version, runtime.GOOS, runtime.GOARCH, runtime.Version())
	if commit != "" {
		line += " commit " + commit
	}
	if fips140.Enabled() {
		line += " fips140 " + fips140.Version()
	}
	return line + "\n"
}

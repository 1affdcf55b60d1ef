package main

import (
	"crypto/fips140"
	"errors"
	"flag"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
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
			return nil, f.wrong("%s", f.explain(err))
		}
		if name := f.empty(); name != "" {
			return nil, f.wrong("--%s=: expected a value", name)
		}
		left := f.Args()
		if n := len(args) - len(left); len(left) == 0 || n > 0 && args[n-1] == "--" {
			return append(rest, left...), nil
		}
		rest, args = append(rest, left[0]), left[1:]
	}
}

// given reports whether one of these flags was set.
func (f *flags) given(names ...string) (some bool) {
	f.Visit(func(x *flag.Flag) { some = some || slices.Contains(names, x.Name) })
	return some
}

// empty returns the name of a flag that was set to a text without any item, or "". Such a text, as an unset variable of a shell gives,
// would silently turn off what the flag was set for.
func (f *flags) empty() (name string) {
	f.Visit(func(x *flag.Flag) {
		if strings.Trim(x.Value.String(), ", ") == "" {
			name = x.Name
		}
	})
	return name
}

// explain returns the text of an error of package flag, with the flag as a user writes it and the kind of value that was expected.
func (f *flags) explain(err error) string {
	text := err.Error()
	if name, value, reason, ok := invalidValue(text); ok {
		return fmt.Sprintf("--%s=%s: %s", name, value, f.expected(name, reason))
	}
	if name, ok := strings.CutPrefix(text, "flag needs an argument: -"); ok {
		return fmt.Sprintf("--%s: expected a value", name)
	}
	name, ok := strings.CutPrefix(text, "flag provided but not defined: -")
	if !ok {
		return text
	}
	var known []string
	f.VisitAll(func(x *flag.Flag) { known = append(known, x.Name) })
	return "flag not known: --" + name + didYouMean(name, "--", known)
}

// invalidValue returns the parts of the error of package flag for a value that cannot be parsed: `invalid value "x" for flag -name: reason`,
// or `invalid boolean value "x" for -name: reason`.
func invalidValue(text string) (name, value, reason string, ok bool) {
	rest, ok := strings.CutPrefix(text, "invalid ")
	if !ok {
		return "", "", "", false
	}
	rest = strings.TrimPrefix(strings.TrimPrefix(rest, "boolean "), "value ")
	quoted, err := strconv.QuotedPrefix(rest)
	if err != nil {
		return "", "", "", false
	}
	value, _ = strconv.Unquote(quoted)
	rest = strings.TrimPrefix(strings.TrimPrefix(rest[len(quoted):], " for "), "flag ")
	name, reason, ok = strings.Cut(strings.TrimPrefix(rest, "-"), ": ")
	return name, value, reason, ok
}

// expected returns the kind of value that a flag takes, or otherwise the reason.
func (f *flags) expected(name, otherwise string) string {
	if g, ok := f.Lookup(name).Value.(flag.Getter); ok {
		switch g.Get().(type) {
		case time.Duration:
			return "expected a duration such as 10m"
		case int:
			return "expected a whole number"
		case bool:
			return "expected true or false"
		}
	}
	return otherwise
}

// wrong returns a usage error of this command.
func (f *flags) wrong(format string, args ...any) error {
	return fmt.Errorf(`%w: %s; see "tap %s --help"`, errUsage, fmt.Sprintf(format, args...), f.command)
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

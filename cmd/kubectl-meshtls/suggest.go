package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// noSubcommand refuses arguments of the root command: the first one is not the name of a command.
func noSubcommand(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	var names []string
	for _, s := range c.Commands() {
		names = append(append(names, s.Name()), append(s.Aliases, s.SuggestFor...)...)
	}
	return usageErrorf("unknown command %q%s\nSee 'kubectl meshtls --help'", args[0], didYouMean(args[0], "", names))
}

// flagError adds to an error about flags the flag that was probably meant, and where to read about flags.
func flagError(c *cobra.Command, err error) error {
	meant := ""
	if unknown, ok := errors.AsType[*pflag.NotExistError](err); ok {
		var names []string
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if !f.Hidden {
				names = append(names, f.Name)
			}
		})
		meant = didYouMean(unknown.GetSpecifiedName(), "--", names)
	}
	return usageErrorf("%w%s\nSee '%s --help'", err, meant, c.CommandPath())
}

// usageErrors makes the errors of a command's arguments, and of combinations of its flags, usage errors.
func usageErrors(c *cobra.Command) {
	check := c.Args
	c.Args = func(c *cobra.Command, args []string) error {
		var err error
		switch {
		case check != nil:
			err = check(c, args)
		case c.HasSubCommands():
			err = noSubcommand(c, args)
		}
		if err = errors.Join(err, c.ValidateRequiredFlags(), c.ValidateFlagGroups()); err == nil {
			return nil
		}
		if _, already := errors.AsType[*statusError](err); already {
			return err
		}
		return usageErrorf("%w\nSee '%s --help'", err, c.CommandPath())
	}
	for _, s := range c.Commands() {
		usageErrors(s)
	}
}

// didYouMean returns a question with the known word that is closest to word, or "" if none is close. A close word
// differs by at most two changes, and by at most one in three bytes. prefix precedes the known word.
func didYouMean(word, prefix string, known []string) string {
	best, least := "", 3
	for _, k := range known {
		if d := distance(word, k); d < least && d*3 <= max(len(word), len(k)) {
			best, least = k, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %s%s?", prefix, best)
}

// distance returns how many bytes must be inserted, deleted, replaced or exchanged with their neighbor to turn a into
// b: the optimal string alignment distance.
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := range len(a) {
		for j := range len(b) {
			replace := rows[i][j]
			if a[i] != b[j] {
				replace++
			}
			rows[i+1][j+1] = min(replace, rows[i][j+1]+1, rows[i+1][j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				rows[i+1][j+1] = min(rows[i+1][j+1], rows[i-1][j-1]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/finding"
	"github.com/meshtls-tap/meshtls-tap/internal/migration"
	"github.com/meshtls-tap/meshtls-tap/internal/pcapfile"
	"github.com/meshtls-tap/meshtls-tap/internal/report"
)

// fileList is the value of a flag that may be given more than once.
type fileList []string

func (l *fileList) String() string { return strings.Join(*l, ",") }

func (l *fileList) Set(v string) error {
	if v == "" {
		return errors.New(`expected a file, or "-"`)
	}
	*l = append(*l, v)
	return nil
}

// recordFlags are the flags that affect records. A comparison writes no records.
var recordFlags = []string{"emit", "format", "expect", "window", "redact", "follow", "fail-on"}

// checkCompare returns an error if the flags of a comparison do not fit together.
func (o *readOptions) checkCompare(f *flags) (err error) {
	all := slices.Concat(o.before, o.after)
	switch {
	case len(all) == 0:
		return nil
	case len(o.before) == 0 || len(o.after) == 0:
		return f.wrong("expected both --before and --after")
	case len(o.files) > 0:
		return f.wrong("%s: expected no further file with --before and --after", o.files[0])
	case len(all)-len(slices.DeleteFunc(slices.Clone(all), func(s string) bool { return s == "-" })) > 1:
		return f.wrong(`"-": standard input can be read only once`)
	}

	f.Visit(func(x *flag.Flag) {
		if err == nil && slices.Contains(recordFlags, x.Name) {
			err = f.wrong("--%s does not go with --before and --after, which write no records", x.Name)
		}
	})
	return err
}

// migrate prints the state of each edge before and after a change.
func migrate(ctx context.Context, o readOptions, std streams) (status int, err error) {
	var sides [2]*migration.Side
	for i, files := range [...]fileList{o.before, o.after} {
		sides[i] = migration.NewSide()
		for _, file := range files {
			if e := gather(ctx, o, std, sides[i], file); e != nil {
				err = errors.Join(err, e)
			}
		}
	}

	result := migration.Compare(sides[0], sides[1])
	if err != nil && (result.Before.Records == 0 || result.After.Records == 0) { // a file that could not be read has no report
		return exitFine, err
	}
	if o.text {
		err = errors.Join(err, report.Migration(std.out, &result, o.layout(std.out)))
	} else {
		err = errors.Join(err, report.MigrationJSON(std.out, &result))
	}

	for i, w := range [...]*migration.Watch{&result.Before, &result.After} {
		if w.OverBounds > 0 {
			err = errors.Join(err, fmt.Errorf("%s: %d records belong to edges beyond the number that can be compared: compare fewer workloads at a time", [...]string{"--before", "--after"}[i], w.OverBounds))
		}
	}

	err = errors.Join(err, oneCluster("--before", sides[0]), oneCluster("--after", sides[1]))
	if a, b := result.Before.Start, result.After.Start; a != 0 && b != 0 && b < a {
		printLines(std.err, "tap read", fmt.Sprintf("note: --after starts earlier than --before (%s, %s): were they swapped?", utc(b), utc(a)))
	}

	switch {
	case result.Lost() > 0:
		status = exitHit
	case err == nil && comparesNothing(&result):
		printLines(std.err, "tap read", "no edge could be compared")
		status = exitBlind
	}
	return status, err
}

func utc(ns int64) string { return time.Unix(0, ns).UTC().Format(time.RFC3339) }

// oneCluster returns an error if the records of a side come from several clusters.
func oneCluster(flag string, s *migration.Side) error {
	if names := s.Clusters(); len(names) > 1 {
		return fmt.Errorf("%s: records of several clusters (%q), whose workloads of the same name would be mixed: compare one cluster at a time", flag, names)
	}
	return nil
}

// gather adds a file to a side. The file is a capture, or it has records, one JSON object in each line. After an error,
// the data before the error still counts.
func gather(ctx context.Context, o readOptions, std streams, side *migration.Side, name string) error {
	r := newReading(ctx, o, std)
	r.compared = func(x finding.Record) { r.failed = errors.Join(r.failed, side.Add(x.Value, name)) }
	err := gatherFrom(r, side, name)
	if err != nil {
		side.Incomplete()
	}
	return err
}

func gatherFrom(r *reading, side *migration.Side, name string) error {
	if r.ctx.Err() != nil {
		return fmt.Errorf("%s: not read: %w", name, errInterrupted)
	}
	file, size, err := r.open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	in, captured, err := pcapfile.Sniff(file)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if !captured {
		err := side.Read(in, name)
		if r.ctx.Err() != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", name, errInterrupted))
		}
		return err
	}

	r.streamed = size < 0
	c, err := pcapfile.NewReader(in)
	if err == nil {
		err = r.all(c, newProgress(r.std.err, name, size))
	}

	s := r.finish()
	seen := &s.Coverage
	side.Captured(name, s.Start, s.End, seen.Evicted+seen.CutShort+seen.Dropped > 0 || len(seen.Undecoded) > 0)
	if err = errors.Join(err, r.failed); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/meshtls-tap/meshtls-tap/internal/variables"
)

// run is the command `tap run`. It captures until ctx, a signal or --for ends it. A missing broker, interface or capability, or
// an invalid setting, does not end it, because a container that keeps exiting would prevent its pod from starting. With --check
// it only reports whether it could start with this environment.
func run(ctx context.Context, args, environ []string, std streams) error {
	f := newFlags("run", runHelp())
	check := f.Bool("check", false, "")
	lasts := f.Duration("for", 0, "")
	output := f.String("output", "", "")
	rest, err := f.parse(args, std.out)
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return f.wrong("unexpected argument %q: everything is set by the environment", rest[0])
	}
	if *output != "" && *output != "json" && *output != "screen" {
		return f.wrong("--output=%s: expected json or screen", *output)
	}
	if *output == "screen" && (!isTerminal(std.out) || isDumb()) {
		return f.wrong("--output=screen: standard output is not a terminal that interprets escapes")
	}
	if *lasts < 0 {
		return f.wrong("--for %v: expected a duration such as 10m", *lasts)
	} else if *lasts > 0 {
		environ = append(slices.Clone(environ), "TAP_FOR="+lasts.String())
	}
	if *check {
		return runCheck(ctx, environ, std)
	}

	terminal, shows := std, showsScreen(*output, environ, std.out)
	var kept *screenLog
	if shows {
		std, kept = newScreen(std)
	}
	log := newLogWriter(std.err)
	defer log.close()
	std.err = log
	t, err := newTapOrFallBack(environ, std)
	if err != nil {
		return err
	}
	t.streams.out = terminal.out
	ignorePipe()
	var s *screen
	if shows {
		s = &screen{}
	}
	ctx, stop := untilSignal(ctx, s.leave)
	defer stop()
	ctx, cancel := t.attached(ctx)
	defer cancel()
	if !shows {
		return t.run(ctx)
	}
	ctx = t.showScreen(ctx, s, terminal, kept)
	defer s.leave() // after a panic
	err = t.run(ctx)
	log.close()
	s.close(ctx, terminal)
	return err
}

// runCheck is `tap run --check`.
func runCheck(ctx context.Context, environ []string, std streams) error {
	s, err := readEnvironment(environ)
	if err != nil {
		return err
	}
	checks := s.localChecks()
	s.kafka.Spool = nil // a check leaves no folder
	t, err := newTap(s, std)
	if err != nil {
		return err
	}
	for _, c := range checks {
		if c.err != nil {
			printLines(std.err, "tap run", fmt.Sprintf("warning: %s: %v", c.name, c.err))
		}
	}
	now, cancel := context.WithCancel(ctx)
	cancel()
	t.publisher.Close(now) // does not wait, because nothing was published
	return nil
}

// runHelp is the text of `tap run --help`.
func runHelp() string {
	var b strings.Builder
	b.WriteString(`Usage: tap run [FLAGS]

Captures in a pod and publishes what is found. It needs the capability NET_RAW and no other. All settings are
environment variables. An invalid value is logged, shown at /readyz and recorded; the default is used instead.

Flags:
  --check          only check the environment: fails if a variable has an invalid value, and warns of variables
                   without effect and of files and folders that cannot be used, on which tap check fails too
  --for=DURATION   how long to run; the same as TAP_FOR
  --output=FORMAT  json: the records, one a line; screen: a live view of edges and findings, and a report at the
                   end; default screen on a terminal, except with TAP_SINK=kafka. In the view q and Ctrl-C quit

Examples:
  TAP_INTERFACES=eth0,lo tap run              JSON lines on standard output
  TAP_SINK=kafka TAP_KAFKA_BROKERS=kafka-0.kafka:9092 tap run
  tap run --for=10m                           in a debug container
  tap run --output=json | jq .                records in place of the live view

Variables, with their defaults in the middle column.
`)
	variables.Help[environment](&b)
	return b.String()
}

// untilSignal returns a context that the first SIGTERM or SIGINT ends. The second one calls leave and ends the process at once.
func untilSignal(ctx context.Context, leave func()) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, append(hangUps(), syscall.SIGTERM, os.Interrupt)...)

	done := make(chan struct{})
	go func() {
		for n := 0; ; n++ {
			select {
			case <-signals:
				if n > 0 {
					leave()
					os.Exit(exitError)
				}
				cancel()
			case <-done:
				return
			}
		}
	}()

	return ctx, func() {
		signal.Stop(signals)
		close(done)
		cancel()
	}
}

package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/pcapfilter"
	"github.com/meshtls-tap/meshtls-tap/internal/tapfilter"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

const filterHelp = `Usage: tap filter [FLAGS] EXPRESSION

Compiles a filter expression of pcap-filter(7) and prints the program, which the kernel runs for
TAP_FILTER, and tap read for --filter. Names are never resolved. EXPRESSION may also be a
compiled program, as -ddd prints it or with commas in place of line ends.

Flags:
  --link=ethernet  the link layer: ethernet, sll or sll2 (Linux cooked v1 and v2), raw (IP), null
                   (BSD loopback)
  --live           for a live interface, where the kernel removes VLAN tags from the packets
                   (ethernet and raw only)
  --default        the program of tap run: the default one, which truncates large packets and
                   drops none, narrowed by the expression if there is one; implies --live
  -d, -dd, -ddd    as in tcpdump: a listing (the default), a fragment of C, decimal numbers

Examples:
  tap filter 'tcp and not port 22'
  TAP_FILTER=$(tap filter -ddd 'host 10.1.0.7') tap run
`

// filter narrows a capture. It is an expression, or a compiled program that is used for any link type. A nil filter
// accepts all packets.
type filter struct {
	text       string
	expression *pcapfilter.Expression // nil: compiled is the program
	compiled   pcapfilter.Program
}

// parseFilter parses an expression or a compiled program. It returns nil for an empty text.
func parseFilter(text string) (*filter, error) {
	var err error
	f := &filter{text: strings.TrimSpace(text)}
	switch {
	case f.text == "":
		return nil, nil
	case pcapfilter.IsProgram(text):
		f.compiled, err = pcapfilter.ParseProgram(text)
		f.text = fmt.Sprintf("a program of %d instructions", len(f.compiled))
	default:
		f.expression, err = pcapfilter.Parse(text)
	}
	if err != nil {
		return nil, err
	}
	return f, nil
}

// program returns the filter's program for a link type.
func (f *filter) program(c pcapfilter.Config) (pcapfilter.Program, error) {
	if f.expression == nil {
		return f.compiled, nil
	}
	return f.expression.Compile(c)
}

// String describes the filter in records. It returns an empty text for nil.
func (f *filter) String() string {
	if f == nil {
		return ""
	}
	return f.text
}

// fileFilter decides which packets of capture files are read.
type fileFilter struct {
	*filter
	programs map[wire.LinkType]pcapfilter.Program
	packet   pcapfilter.Packet
	rejected uint64 // packets that did not pass
}

// passes reports whether a packet passes. A packet of an unknown link type passes, so that it is counted as not decoded.
func (f *fileFilter) passes(p *flow.Packet) (bool, error) {
	if f.filter == nil || !flow.DecodesLink(p.Link) {
		return true, nil
	}

	program, ok := f.programs[p.Link]
	if !ok {
		var err error
		if program, err = f.program(pcapfilter.Config{Link: p.Link}); err != nil {
			return false, fmt.Errorf("--filter: %w", err)
		}
		if f.programs == nil {
			f.programs = map[wire.LinkType]pcapfilter.Program{}
		}
		f.programs[p.Link] = program
	}

	f.packet.Data, f.packet.Length = p.Data, p.Length
	if program.Run(&f.packet) == 0 {
		f.rejected++
		return false, nil
	}
	return true, nil
}

// printFilter is the command `tap filter`.
func printFilter(args []string, std streams) error {
	f := newFlags("filter", filterHelp)
	linkName := f.String("link", "ethernet", "")
	live := f.Bool("live", false, "")
	whole := f.Bool("default", false, "")
	forms := [...]*bool{f.Bool("d", false, ""), f.Bool("dd", false, ""), f.Bool("ddd", false, "")}
	rest, err := f.parse(args, std.out)
	if err != nil {
		return err
	}

	link, known := pcapfilter.LinkNamed(*linkName)
	*live = *live || *whole
	switch {
	case len(rest) == 0 && !*whole:
		return f.wrong(`no expression: expected one such as "tcp port 443", or '' for every packet`)
	case !known:
		return f.wrong("--link=%s: expected ethernet, sll, sll2, raw or null", *linkName)
	case *live && link != wire.LinkEthernet && link != wire.LinkRaw:
		return f.wrong("--live --link=%s: expected ethernet or raw, the link types of live interfaces", *linkName)
	}

	compile := compileFilter
	if *whole {
		compile = liveProgram
	}
	var program pcapfilter.Program
	expression, err := parseFilter(strings.Join(rest, " "))
	if err == nil {
		program, err = compile(expression, pcapfilter.Config{Link: link, Live: *live})
	}
	if err != nil {
		return pointed("", err)
	}

	printed := program.Listing()
	switch {
	case *forms[2]:
		printed = program.Decimal()
	case *forms[1]:
		printed = program.Fragment()
	}
	_, err = io.WriteString(std.out, printed)
	return err
}

// compileFilter returns the program of a filter. For a nil filter, all packets pass the program.
func compileFilter(f *filter, c pcapfilter.Config) (pcapfilter.Program, error) {
	if f == nil {
		return pcapfilter.Compile("", c)
	}
	return f.program(c)
}

// liveProgram returns the program for a live interface: the default filter, narrowed by f if f is not nil. The default filter
// truncates packets and drops none.
func liveProgram(f *filter, c pcapfilter.Config) (pcapfilter.Program, error) {
	c.Live = true
	whole := tapfilter.Default(c)
	if f == nil {
		return whole, nil
	}
	narrow, err := f.program(c)
	if err != nil {
		return nil, err
	}
	return pcapfilter.And(narrow, whole)
}

// pointed returns a usage error that points to the position of a syntax error. Its text starts with prefix.
func pointed(prefix string, err error) error {
	if e, ok := errors.AsType[*pcapfilter.Error](err); ok {
		return fmt.Errorf("%w: %s%w\n%s", errUsage, prefix, e, e.Caret())
	}
	return fmt.Errorf("%w: %s%w", errUsage, prefix, err)
}

package main

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/finding"
)

const readHelp = `Usage: tap read [FLAGS] FILE...
       tap read --before=FILE --after=FILE [FLAGS]

Judges each connection in capture files: pcap or pcapng, which may be compressed by gzip, zstd or lz4; "-" is standard
input.

With --before and --after it compares each edge before and after a change, such as the move from
sidecars to an ambient mesh. Both may be given more than once. Each FILE is a capture, or has records, one
JSON object a line, as taps publish them and consumers of Kafka print them.

Flags:
  --output=auto|text|json|cbom|junit
                           text: a summary, the edges, and why; json: records, one a line;
                           cbom: the cryptography that was seen, as a CycloneDX 1.6 CBOM;
                           junit: a test report, with a test for each edge;
                           auto (the default): json with --emit or --format, otherwise text
  --color=auto|always|never
                           colors in text; auto (the default): on a terminal, unless NO_COLOR is
                           set or TERM is dumb
  --emit=LIST              the records for json: findings, posture, flows
                           (default findings,posture)
  --format=ecs|ocsf        the format of json: the Elastic Common Schema 9.x (the default), or the
                           Open Cybersecurity Schema Framework 1.6
  --local=CIDR,...         the addresses of the pod or pods whose point of view is taken;
                           by default only loopback addresses, and connections between others
                           are neither ingress nor egress
  --cluster=CIDR,...       public ranges that the cluster's pods and services use, to be treated
                           as private
  --expect=CIDR[:PORT]=mtls|tls|any,...
                           what connections to these addresses should be; the first match counts
  --filter=EXPR            read these packets only: an expression of pcap-filter(7), or a
                           program as tap filter -ddd prints it
  --window=10m             the time that one posture record covers
  --severity=RULE=N,...    severities of rules: 21, 47, 73, 99; 0 turns a rule off
  --redact=default         strict, default or none; none shows paths and user agents
  --follow                 at the end of the file, wait for more packets until Ctrl-C, like tail -f
  --evidence=DIR           write the packets of each alert's connection to a pcapng file in this folder:
                           headers, TLS handshakes and masked plaintext; at most 1000 files of 256 KiB
  --fail-on=LIST           exit 3 if a finding has a rule.id of the list, or at least a severity of
                           the list (0-100), or, for unjudged, if a connection was not judged;
                           plaintext that --expect allows raises no plaintext-edge;
                           exit 4 if no connection was judged, so that an empty capture never passes
  --before=FILE            a capture or records from before a change
  --after=FILE             a capture or records from after it; goes with --output, --local,
                           --cluster and --filter (the last three for captures) and no other flag

Ctrl-C or SIGTERM ends the reading of a pipe, or with --follow, like its end: the report follows. A file
that is interrupted is an error, after its report.

Exit status: 2 usage; otherwise the first of these that applies: 3 a hit of --fail-on, or an edge that
lost mutual TLS; 1 an error, such as a truncated file, of which the part before is printed; 4 no
connection was judged with --fail-on, or no edge could be compared; 0 success.

Examples:
  tap read capture.pcap
  sudo tcpdump -i any -U -w - | tap read -
  tap read --local=10.1.0.10 --fail-on=plaintext-edge,unjudged pod.pcap
  tap read --output=json --emit=flows pod.pcap.zst
  tap read --before=sidecars.jsonl --after=ambient.jsonl
`

// readOptions are the flags of tap read.
type readOptions struct {
	text   bool
	junit  bool
	color  string // --color
	cbom   bool
	emit   map[string]bool // datasets to emit
	format format
	local  []netip.Prefix
	ranges []netip.Prefix
	expect []finding.Expectation
	filter *filter
	window time.Duration
	follow bool
	redact finding.Redact

	evidence string // folder for evidence; empty: none

	severities finding.Severities
	failOn     failOn
	files      []string

	before, after fileList // files to compare; empty: nothing is compared
}

func readFlags(args []string, std streams) (o readOptions, err error) {
	f := newFlags("read", readHelp)
	output := f.String("output", "auto", "")
	f.StringVar(&o.color, "color", "auto", "")
	emit := f.String("emit", "findings,posture", "")
	format := f.String("format", "ecs", "")
	local := f.String("local", "", "")
	ranges := f.String("cluster", "", "")
	expect := f.String("expect", "", "")
	severity := f.String("severity", "", "")
	filter := f.String("filter", "", "")
	redact := f.String("redact", "default", "")
	failOn := f.String("fail-on", "", "")
	f.StringVar(&o.evidence, "evidence", "", "")
	f.Var(&o.before, "before", "")
	f.Var(&o.after, "after", "")
	f.BoolVar(&o.follow, "follow", false, "")
	f.DurationVar(&o.window, "window", 10*time.Minute, "")

	if o.files, err = f.parse(args, std.out); err != nil {
		return o, err
	}

	if err := o.checkCompare(f); err != nil {
		return o, err
	}
	switch {
	case len(o.files) == 0 && len(o.before) == 0:
		return o, f.wrong(`no file: expected one or more capture files, or "-"`)
	case o.follow && (len(o.files) != 1 || o.files[0] == "-"):
		return o, f.wrong("--follow: expected one file; a pipe is read until it ends in any case")
	case o.window < time.Second:
		return o, f.wrong("--window=%s: expected a second or more, such as 10m", o.window)
	case !slices.Contains([]string{"auto", "text", "json", "cbom", "junit"}, *output):
		return o, f.wrong("--output=%s: expected auto, text, json, cbom or junit", *output)
	case !slices.Contains([]string{"auto", "always", "never"}, o.color):
		return o, f.wrong("--color=%s: expected auto, always or never", o.color)
	case (*output == "cbom" || *output == "junit") && len(o.before) > 0:
		return o, f.wrong("--output=%s does not go with --before and --after: expected auto, text or json", *output)
	}
	o.cbom, o.junit = *output == "cbom", *output == "junit"
	o.text = *output == "text" || *output == "auto" && !f.given("emit", "format")
	if o.emit, err = parseEmit(*emit); err != nil {
		return o, f.wrong("--emit=%s: %v", *emit, err)
	}
	if o.format, err = parseFormat(*format); err != nil {
		return o, f.wrong("--format=%s: %v", *format, err)
	}
	if o.local, err = parsePrefixes(*local); err != nil {
		return o, f.wrong("--local=%s: %v", *local, err)
	}
	if o.ranges, err = parsePrefixes(*ranges); err != nil {
		return o, f.wrong("--cluster=%s: %v", *ranges, err)
	}
	if o.expect, err = finding.ParseExpect(*expect); err != nil {
		return o, f.wrong("--expect=%s: %v", *expect, err)
	}
	if o.filter, err = parseFilter(*filter); err != nil {
		return o, pointed("--filter: ", err)
	}
	if o.severities, err = finding.ParseSeverities(*severity); err != nil {
		return o, f.wrong("--severity=%s: %v", *severity, err)
	}
	if o.redact, err = parseRedact(*redact); err != nil {
		return o, f.wrong("--redact=%s: %v", *redact, err)
	}
	if o.evidence != "" && o.redact == finding.RedactStrict {
		return o, f.wrong("--evidence does not go with --redact=strict, because TLS handshakes contain names")
	}
	if o.failOn, err = parseFailOn(*failOn); err != nil {
		return o, f.wrong("--fail-on=%s: %v", *failOn, err)
	}
	return o, nil
}

// datasets are the values of --emit and TAP_EMIT.
var datasets = map[string]string{"findings": finding.DatasetFinding, "posture": finding.DatasetPosture, "flows": finding.DatasetFlow}

func parseEmit(list string) (map[string]bool, error) {
	out := map[string]bool{}
	for _, name := range split(list) {
		dataset, ok := datasets[name]
		if !ok {
			return nil, fmt.Errorf("%q: expected findings, posture or flows, with commas between them", name)
		}
		out[dataset] = true
	}
	if len(out) == 0 {
		return nil, errors.New("expected findings, posture or flows")
	}
	return out, nil
}

// parsePrefixes parses a list of prefixes and addresses.
func parsePrefixes(list string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, text := range split(list) {
		p, err := netip.ParsePrefix(text)
		if a, e := netip.ParseAddr(text); e == nil {
			p, err = netip.PrefixFrom(a, a.BitLen()), nil
		}
		if err != nil {
			return nil, fmt.Errorf("%q: expected an address or a CIDR such as 10.0.0.0/8", text)
		}
		out = append(out, p.Masked())
	}
	return out, nil
}

func parseRedact(text string) (finding.Redact, error) {
	switch r := finding.Redact(text); r {
	case finding.RedactStrict, finding.RedactDefault, finding.RedactNone:
		return r, nil
	case "":
		return finding.RedactDefault, nil
	}
	return "", fmt.Errorf("%q: expected strict, default or none", text)
}

// split splits a list at its commas. It removes spaces around items, and empty items.
func split(list string) []string {
	var out []string
	for item := range strings.SplitSeq(list, ",") {
		if item = strings.TrimSpace(item); item != "" {
			out = append(out, item)
		}
	}
	return out
}

package main

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/finding"
	"github.com/meshtls-tap/meshtls-tap/internal/pcapfile"
	"github.com/meshtls-tap/meshtls-tap/internal/pipeline"
	"github.com/meshtls-tap/meshtls-tap/internal/report"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

const readHelp = `Usage: tap read [FLAGS] FILE...
       tap read --before=FILE --after=FILE [FLAGS]

Judges each connection in capture files: pcap or pcapng, which may be compressed by gzip; "-" is standard
input. Example: tap read --local=10.1.0.10 --output=text --fail-on=plaintext-edge pod.pcap

With --before and --after it compares each edge before and after a change, such as the move from
sidecars to an ambient mesh. Both may be given more than once. Each FILE is a capture, or has records, one
JSON object a line, as taps publish them and consumers of Kafka print them.

Flags:
  --output=auto|text|json|cbom
                           text: a summary, the edges, and why; json: records, one a line;
                           cbom: the cryptography that was seen, as a CycloneDX 1.6 CBOM;
                           auto (the default): text on a terminal, else json
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
  --fail-on=RULE|SEVERITY  exit 3 if a finding has this rule.id, or at least this severity (0-100);
                           exit 4 if no connection was judged, so that an empty capture never passes
  --before=FILE            a capture or records from before a change
  --after=FILE             a capture or records from after it; goes with --output, --local,
                           --cluster and --filter (the last three for captures) and no other flag

Exit status: 2 usage; otherwise the first of these that applies: 3 a hit of --fail-on, or an edge that
lost mutual TLS; 1 an error, such as a truncated file, of which the part before is printed; 4 no
connection was judged with --fail-on, or no edge could be compared; 0 success.
`

// readOptions are the flags of tap read.
type readOptions struct {
	text   bool
	cbom   bool
	emit   map[string]bool // datasets to emit
	format format
	local  []netip.Prefix
	ranges []netip.Prefix
	expect []finding.Expectation
	filter *filter
	window time.Duration
	redact finding.Redact

	severities finding.Severities
	rule       string // --fail-on
	fail       int    // --fail-on, -1: none
	files      []string

	before, after fileList // files to compare; empty: nothing is compared
}

// readGrowth is the growth of the heap between two garbage collections, in percent (GOGC). Compared with the runtime's default of
// 100, it saves 5 % of the CPU time and needs a few megabytes more.
const readGrowth = 200

// read is the command `tap read`.
func read(args []string, std streams) (status int, err error) {
	o, err := readFlags(args, std)
	if err != nil {
		return exitFine, err
	}
	if os.Getenv("GOGC") == "" { // the environment has precedence
		defer debug.SetGCPercent(debug.SetGCPercent(readGrowth))
	}
	if len(o.before) > 0 {
		return migrate(o, std)
	}

	r := newReading(o, std)
	for _, file := range o.files {
		if e := r.file(file); e != nil {
			err = errors.Join(err, e)
		}
	}

	summary := r.finish()
	r.flush()
	switch {
	case err != nil && r.packets == 0 && (o.text || o.cbom): // a file that could not be read has no report
	case o.cbom:
		err = errors.Join(err, r.writeInventory(summary.End))
		r.reportUndecoded()
	case !o.text:
		err = errors.Join(err, r.failed)
		r.reportUndecoded()
	default:
		err = errors.Join(err, report.Text(std.out, summary, report.Options{Width: width(std.out), Color: colored(std.out)}))
	}

	blind := nothingJudged(&summary, r.packets)
	if blind != "" && err == nil && (o.gates() || !o.text) {
		printLines(std.err, "tap read", blind)
	}
	switch {
	case slices.ContainsFunc(summary.Findings, o.fails):
		status = exitHit
	case blind != "" && err == nil && o.gates():
		status = exitBlind
	}
	return status, err
}

func readFlags(args []string, std streams) (o readOptions, err error) {
	f := newFlags("read", readHelp)
	output := f.String("output", "auto", "")
	emit := f.String("emit", "findings,posture", "")
	format := f.String("format", "ecs", "")
	local := f.String("local", "", "")
	ranges := f.String("cluster", "", "")
	expect := f.String("expect", "", "")
	severity := f.String("severity", "", "")
	filter := f.String("filter", "", "")
	redact := f.String("redact", "default", "")
	failOn := f.String("fail-on", "", "")
	f.Var(&o.before, "before", "")
	f.Var(&o.after, "after", "")
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
	case o.window < time.Second:
		return o, f.wrong("--window=%s: expected a second or more, such as 10m", o.window)
	case !slices.Contains([]string{"auto", "text", "json", "cbom"}, *output):
		return o, f.wrong("--output=%s: expected auto, text, json or cbom", *output)
	case *output == "cbom" && len(o.before) > 0:
		return o, f.wrong("--output=cbom does not go with --before and --after: expected auto, text or json")
	}
	o.cbom = *output == "cbom"

	o.text = *output == "text" || *output == "auto" && isTerminal(std.out)
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
	if o.rule, o.fail, err = parseFailOn(*failOn); err != nil {
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

// reading is one run of `tap read`.
type reading struct {
	o          readOptions
	std        streams
	pipeline   *pipeline.Pipeline
	out        *bufio.Writer
	packets    int   // number of packets in the files so far
	unbuffered bool  // each record is written at once, because the input may be a pipe that is still written to
	failed     error // the first error of writing
	filter     fileFilter
	identity   captureIdentity
	compared   func(finding.Record) // called with each flow record, which is then not written; nil: records are written
	inventory  inventory
}

// writeBuffer is the size of the output buffer in bytes.
const writeBuffer = 64 << 10

func newReading(o readOptions, std streams) *reading {
	r := &reading{o: o, std: std, out: bufio.NewWriterSize(std.out, writeBuffer), filter: fileFilter{filter: o.filter}, identity: newCaptureIdentity()}

	encode := o.format.encode
	if o.cbom {
		encode = r.collectInventory()
	}
	r.pipeline = pipeline.New(pipeline.Config{
		Loopback: []string{"lo", "lo0"},
		Judge:    verdict.Config{Local: o.local, Cluster: o.ranges},
		Coverage: r.addCoverage,
		Engine: finding.Config{
			Tap: "read", Identity: finding.Identity{Version: version}, Unfold: true, Announcements: -1, Window: o.window, Expect: o.expect, Severities: o.severities, Cluster: o.ranges, Redact: o.redact,
			Findings: true, Posture: o.emit[datasets["posture"]], Flows: o.emit[datasets["flows"]] || len(o.before) > 0 || o.cbom,
			Emit: r.emit, Encode: encode, Reuse: true, Filter: o.filter.String(),
		},
	})
	return r
}

// emit writes a record of a dataset in --emit.
func (r *reading) emit(x finding.Record) {
	if r.compared != nil {
		if x.Dataset == finding.DatasetFlow {
			r.compared(x)
		}
		return
	}
	if r.o.text || !r.o.emit[x.Dataset] || r.failed != nil {
		return
	}
	_, r.failed = r.out.Write(append(x.Value, '\n'))
	if r.unbuffered {
		r.flush()
	}
}

func (r *reading) flush() { r.failed = cmp.Or(r.failed, r.out.Flush()) }

// addCoverage adds to c the packets that did not reach the pipeline.
func (r *reading) addCoverage(c *finding.Coverage) {
	if r.o.filter != nil {
		c.Counters["filtered_packets"] = r.filter.rejected
	}
}

// finish closes the open window and returns a summary of the whole run.
func (r *reading) finish() (s finding.Summary) {
	r.pipeline.Do(func(p *pipeline.Locked) {
		p.Engine.Flush(p.Latest())
		s = p.Engine.Summary()
	})
	return s
}

// file reads one capture. After an error, the packets before the error still count.
func (r *reading) file(name string) error {
	in, size, err := r.open(name)
	if err != nil {
		return err
	}
	defer in.Close()
	r.unbuffered = size < 0
	c, err := pcapfile.NewReader(r.hashed(name, in))
	if err == nil {
		err = r.all(c, newProgress(r.std.err, name, size))
	}
	r.endHash(err != nil)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// open opens a file. size is in bytes, or -1 if it is unknown.
func (r *reading) open(name string) (in io.ReadCloser, size int64, err error) {
	if name == "-" {
		return io.NopCloser(r.std.in), -1, nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, 0, err // the error contains the file's name
	}

	info, err := f.Stat()
	switch {
	case err != nil:
	case info.IsDir():
		err = fmt.Errorf("%s: a folder: expected a capture file", name)
	case info.Mode().IsRegular():
		return f, info.Size(), nil
	default:
		return f, -1, nil
	}
	f.Close()
	return nil, 0, err
}

// all reads all packets of a capture and then ends its connections.
func (r *reading) all(c *pcapfile.Reader, progress *progress) error {
	defer progress.done()
	b := batch{file: c, progress: progress, names: map[device]uint16{}}
	r.identity.startFile()
	for b.err == nil {
		r.add(r.batch(&b))
	}
	r.pipeline.Flush()
	r.packets += c.Packets()
	if errors.Is(b.err, io.EOF) {
		b.err = nil
	}
	return errors.Join(b.err, c.Skipped(), r.panicError())
}

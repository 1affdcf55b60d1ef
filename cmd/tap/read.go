package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"

	"github.com/meshtls-tap/meshtls-tap/internal/finding"
	"github.com/meshtls-tap/meshtls-tap/internal/pcapfile"
	"github.com/meshtls-tap/meshtls-tap/internal/pipeline"
	"github.com/meshtls-tap/meshtls-tap/internal/report"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// readGrowth is the growth of the heap between two garbage collections, in percent (GOGC). Compared with the runtime's default of
// 100, it saves 5 % of the CPU time and needs a few megabytes more.
const readGrowth = 200

// read is the command `tap read`.
func read(ctx context.Context, args []string, std streams) (status int, err error) {
	o, err := readFlags(args, std)
	if err != nil {
		return exitFine, err
	}
	if os.Getenv("GOGC") == "" { // the environment has precedence
		defer debug.SetGCPercent(debug.SetGCPercent(readGrowth))
	}
	ctx, stop := untilSignal(ctx, func() {})
	defer stop()
	if len(o.before) > 0 {
		return migrate(ctx, o, std)
	}

	r := newReading(ctx, o, std)
	for _, file := range o.files {
		if e := r.file(file); e != nil {
			err = errors.Join(err, e)
		}
	}

	summary := r.finish()
	r.flush()
	err = errors.Join(err, r.evidence.result())
	switch {
	case err != nil && r.packets == 0 && (o.text || o.cbom || o.junit): // a file that could not be read has no report
	case o.cbom:
		err = errors.Join(err, r.writeInventory(summary.End))
		r.reportUndecoded()
	case o.junit:
		err = errors.Join(err, r.writeJUnit(&summary, err))
		r.reportUndecoded()
	case !o.text:
		err = errors.Join(err, r.failed)
		r.reportUndecoded()
	default:
		err = errors.Join(err, report.Text(std.out, summary, o.layout(std.out)))
	}

	blind := nothingJudged(&summary, r.packets)
	if blind != "" && err == nil && (o.failOn.gates() || !o.text) {
		printLines(std.err, "tap read", blind)
	}
	switch {
	case o.failOn.hit(&summary):
		status = exitHit
	case blind != "" && err == nil && o.failOn.gates():
		status = exitBlind
	}
	return status, err
}

// reading is one run of `tap read`.
type reading struct {
	ctx       context.Context // its end ends the reading
	o         readOptions
	std       streams
	pipeline  *pipeline.Pipeline
	out       *bufio.Writer
	packets   int   // number of packets in the files so far
	streamed  bool  // the input is a pipe or a followed file: each record is written at once, and a signal ends it like its end
	failed    error // the first error of writing
	filter    fileFilter
	identity  captureIdentity
	compared  func(finding.Record) // called with each flow record, which is then not written; nil: records are written
	inventory inventory
	evidence  *readEvidence
}

// maxEdges bounds the edges of a run, each of which takes about 4 KB. The connections of further edges are counted together.
const maxEdges = 1 << 16

// writeBuffer is the size of the output buffer in bytes.
const writeBuffer = 64 << 10

func newReading(ctx context.Context, o readOptions, std streams) *reading {
	r := &reading{ctx: ctx, o: o, std: std, out: bufio.NewWriterSize(std.out, writeBuffer), filter: fileFilter{filter: o.filter}, identity: newCaptureIdentity()}

	encode := o.format.encode
	if o.cbom {
		encode = r.collectInventory()
	}
	cfg := pipeline.Config{
		Loopback: []string{"lo", "lo0"},
		Judge:    verdict.Config{Local: o.local, Cluster: o.ranges},
		Coverage: r.addCoverage,
		Engine: finding.Config{
			Tap: "read", Identity: finding.Identity{Version: version}, Unfold: true, MaxEdges: maxEdges, Announcements: -1, Window: o.window, Expect: o.expect, Severities: o.severities, Cluster: o.ranges, Redact: o.redact,
			Findings: true, Posture: o.emit[datasets["posture"]], Flows: o.emit[datasets["flows"]] || len(o.before) > 0 || o.cbom,
			Emit: r.emit, Encode: encode, Reuse: true, Filter: o.filter.String(),
		},
	}
	r.storeEvidence(&cfg)
	r.pipeline = pipeline.New(cfg)
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
	if r.o.text || r.o.junit || !r.o.emit[x.Dataset] || r.failed != nil {
		return
	}
	_, r.failed = r.out.Write(append(x.Value, '\n'))
	if r.streamed {
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
	if r.ctx.Err() != nil {
		return fmt.Errorf("%s: not read: %w", name, errInterrupted)
	}
	in, size, err := r.open(name)
	if err != nil {
		return err
	}
	defer in.Close()
	r.streamed = size < 0
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
		return untilStopped(r.ctx, r.std.in), -1, nil
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
	case info.Mode().IsRegular() && r.o.follow:
		return &followed{file: f, ctx: r.ctx}, -1, nil
	case info.Mode().IsRegular():
		return f, info.Size(), nil
	default:
		return untilStopped(r.ctx, f), -1, nil
	}
	f.Close()
	return nil, 0, err
}

// all reads all packets of a capture and then ends its connections.
func (r *reading) all(c *pcapfile.Reader, progress *progress) error {
	defer progress.done()
	b := batch{file: c, progress: progress, devices: map[pcapfile.Device]uint16{}}
	r.identity.startFile()
	for b.err == nil && (r.streamed || r.ctx.Err() == nil) {
		r.add(r.batch(&b))
	}
	r.pipeline.Flush()
	r.packets += c.Packets()
	switch interrupted := r.ctx.Err() != nil; {
	case errors.Is(b.err, io.EOF), interrupted && r.streamed && errors.Is(b.err, io.ErrUnexpectedEOF):
		b.err = nil
	case interrupted && b.err == nil:
		b.err = fmt.Errorf("%w after packet %d", errInterrupted, c.Packets())
	}
	return errors.Join(b.err, c.Skipped(), r.panicError())
}

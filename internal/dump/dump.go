package dump

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/afpacket"
	"github.com/meshtls-tap/meshtls-tap/internal/evidence"
	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/pcapfilter"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// Config configures a capture.
type Config struct {
	Interfaces  []string                                            // names
	Filter      func(pcapfilter.Config) (pcapfilter.Program, error) // returns the filter for a link type
	Description string                                              // the filter as the file names it; empty: none
	SnapLength  int                                                 // bytes captured of each packet at most
	Payload     bool                                                // payload is written too
	RingBytes   int                                                 // bytes of each ring
	MaxBytes    int64                                               // bytes written at most
	Application string                                              // program and version, for the file
}

// Errors of [Capture.Run].
var (
	ErrFull    = errors.New("the limit of bytes was reached")
	ErrBlocked = errors.New("nobody reads the output, which may be incomplete")
)

// writeGrace is how long Run waits at its end for a writer that blocks.
const writeGrace = 2 * time.Second

// Result counts what a capture wrote.
type Result struct {
	Packets, Bytes uint64
	Dropped        uint64 // packets that were lost because a ring was full
}

// String returns the counts in words, such as "12 packets, 3400 bytes, 0 packets dropped".
func (r Result) String() string {
	return count(r.Packets, "packet") + ", " + count(r.Bytes, "byte") + ", " + count(r.Dropped, "packet") + " dropped"
}

// count formats a number with a noun.
func count(n uint64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// Capture is a capture of some interfaces.
type Capture struct {
	cfg        Config
	interfaces []captured

	mu        sync.Mutex // guards the fields below; while the writer blocks, it is locked
	section   evidence.Section
	truncator *evidence.Truncator // nil: payload is written too
	out       io.Writer
	frame     []byte // of the current packet
	result    Result
	err       error // why no more packets are written
}

// captured is an interface that is captured.
type captured struct {
	*afpacket.Handle
	name   string
	filter pcapfilter.Program // nil: the kernel applies it
}

// Open starts to capture on each interface. failed has an error for each interface that cannot be captured. If no interface can be captured,
// c is nil. Run must be called, because it closes the interfaces.
func Open(cfg Config) (c *Capture, failed []error) {
	c = &Capture{cfg: cfg}
	if !cfg.Payload {
		c.truncator = evidence.NewTruncator()
	}
	for _, name := range cfg.Interfaces {
		i, err := open(name, &cfg)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		c.interfaces = append(c.interfaces, i)
	}
	if len(c.interfaces) == 0 {
		return nil, failed
	}
	return c, failed
}

// open starts to capture on an interface. If the kernel has no memory for the filter, the capture applies it.
func open(name string, cfg *Config) (i captured, err error) {
	link, err := afpacket.Link(name)
	if err != nil {
		return i, err
	}
	program, err := cfg.Filter(pcapfilter.Config{Link: link, Live: true})
	if err != nil {
		return i, fmt.Errorf("interface %s: %w", name, err)
	}
	i.name = name
	kernel := afpacket.Config{Interface: name, Filter: program, RingBytes: cfg.RingBytes, SnapLength: cfg.SnapLength}
	if i.Handle, err = afpacket.Open(kernel); errors.Is(err, afpacket.ErrFilterMemory) {
		kernel.Filter, i.filter = nil, program
		i.Handle, err = afpacket.Open(kernel)
	}
	return i, err
}

// Interfaces returns the names of the captured interfaces, in the order of Config.Interfaces.
func (c *Capture) Interfaces() (names []string) {
	for _, i := range c.interfaces {
		names = append(names, i.name)
	}
	return names
}

// Run writes packets until ctx ends, MaxBytes are written, a write fails, or no interface can be captured any more. Statistics of each interface
// are last. The error is the reason for the end: the cause of ctx, ErrFull, ErrBlocked or another one; it is never nil after a capture
// that was ended by ctx. Run may be called once.
func (c *Capture) Run(ctx context.Context, out io.Writer) (Result, error) {
	c.out = out
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	done := make(chan error, 1)
	go func() { done <- c.capture(cancel) }()
	context.AfterFunc(ctx, func() {
		for _, i := range c.interfaces {
			i.Close()
		}
	})
	var err error
	select {
	case err = <-done:
	case <-ctx.Done():
		select {
		case err = <-done:
		case <-time.After(writeGrace):
			return Result{}, ErrBlocked
		}
	}
	return c.result, cmp.Or(context.Cause(ctx), err)
}

// capture writes the start of the file, the packets of all interfaces until they are closed, and the statistics. It calls stop with the reason for
// which no more packets can be written. It returns the errors of interfaces.
func (c *Capture) capture(stop context.CancelCauseFunc) error {
	note := ""
	if c.truncator != nil {
		note = evidence.NoteTruncated
	}
	c.mu.Lock()
	c.section.Header(c.cfg.Application, note)
	for _, i := range c.interfaces {
		c.section.Interface(i.LinkType(), i.name, c.cfg.Description, c.cfg.SnapLength)
	}
	if c.err = c.flush(); c.err != nil {
		stop(c.err)
	}
	c.mu.Unlock()

	errs := make([]error, len(c.interfaces))
	var all sync.WaitGroup
	for n, i := range c.interfaces {
		all.Go(func() {
			errs[n] = i.Run(func(b *afpacket.Block) {
				if err := c.block(n, b); err != nil {
					stop(err)
				}
			})
		})
	}
	all.Wait()

	for n, i := range c.interfaces {
		if s, err := i.Stats(); err == nil {
			c.result.Dropped += s.Drops
			c.section.Statistics(n, time.Now().UnixNano(), s.Packets, s.Drops)
		}
	}
	if c.err == nil || errors.Is(c.err, ErrFull) {
		errs = append(errs, c.flush())
	}
	return errors.Join(errs...)
}

// block writes the packets of a block of interface n. It returns the reason if no more packets can be written.
func (c *Capture) block(n int, b *afpacket.Block) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	for x, ok := b.Next(); ok && c.err == nil; x, ok = b.Next() {
		c.err = c.packet(n, &x)
	}
	c.err = cmp.Or(c.flush(), c.err)
	return c.err
}

// Lengths in bytes of blocks.
const (
	packetOverhead  = 36 // of an enhanced packet block without its frame, with padding
	statisticsBytes = 56
)

// packet adds a packet of interface n to the section. It returns ErrFull if there is no room for it. The caller holds mu.
func (c *Capture) packet(n int, x *afpacket.Packet) error {
	i := &c.interfaces[n]
	if i.filter != nil {
		keep := i.filter.Run(&pcapfilter.Packet{Data: x.Data, Length: x.Length, HasVLAN: x.VLANType != 0, VLAN: x.VLAN, Type: x.Type})
		if keep == 0 {
			return nil
		}
		x.Data = x.Data[:min(len(x.Data), int(keep))]
	}

	const addresses = 12
	frame, length := c.frame[:0], x.Length
	if x.VLANType != 0 && i.LinkType() == wire.LinkEthernet && len(x.Data) >= addresses { // the kernel has moved the tag out of the packet
		frame = append(frame, x.Data[:addresses]...)
		frame = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(frame, x.VLANType), x.VLAN)
		length += len(frame) - addresses
		x.Data = x.Data[addresses:]
	}
	frame = append(frame, x.Data...)
	c.frame = frame
	if c.truncator != nil {
		p := flow.Packet{Time: x.Time, Data: frame, Length: length, Link: i.LinkType(), Interface: uint16(n)}
		frame = frame[:c.truncator.Truncate(&p)]
	}
	if size := c.result.Bytes + uint64(len(c.section.Bytes())+len(frame)+packetOverhead+len(c.interfaces)*statisticsBytes); size > uint64(c.cfg.MaxBytes) {
		return ErrFull
	}
	c.section.Packet(n, x.Time, frame, length)
	c.result.Packets++
	return nil
}

// flush writes the section's blocks.
func (c *Capture) flush() error {
	n, err := c.out.Write(c.section.Bytes())
	c.result.Bytes += uint64(n)
	c.section.Reset()
	return err
}

package sink

import (
	"io"
	"sync"

	"github.com/klauspost/compress/zstd"
	"github.com/segmentio/kafka-go/compress"
)

// zstdCodec writes zstd with little memory. kafka-go's own takes 18 MB for each partition
// that is written to at once; this takes one, is faster and, with records like the tap's,
// compresses no worse. It reads as kafka-go's does.
type zstdCodec struct {
	compress.Codec
	encoders sync.Pool // of *zstd.Encoder
}

// kafka-go looks its codecs up in a table of the package, once for each batch.
func init() {
	compress.Codecs[compress.Zstd] = &zstdCodec{Codec: compress.Codecs[compress.Zstd]}
}

// zstdWindow is how far back a repetition is found: some hundred records.
const zstdWindow = 256 << 10

// NewWriter implements compress.Codec.
func (c *zstdCodec) NewWriter(w io.Writer) io.WriteCloser {
	e, ok := c.encoders.Get().(*zstd.Encoder)
	if !ok {
		// It fails for options that are not valid only, and these are.
		e, _ = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(zstdWindow),
			zstd.WithLowerEncoderMem(true), zstd.WithEncoderConcurrency(1), zstd.WithZeroFrames(true))
	}
	e.Reset(w)
	return &zstdWriter{e, c}
}

// zstdWriter gives its encoder back when it is closed.
type zstdWriter struct {
	encoder *zstd.Encoder // nil once it is closed
	codec   *zstdCodec
}

// Write implements io.Writer.
func (w *zstdWriter) Write(p []byte) (int, error) {
	if w.encoder == nil {
		return 0, io.ErrClosedPipe
	}
	return w.encoder.Write(p)
}

// Close implements io.Closer.
func (w *zstdWriter) Close() error {
	if w.encoder == nil {
		return nil
	}
	err := w.encoder.Close()
	w.encoder.Reset(nil) // lets go of what it wrote to
	w.codec.encoders.Put(w.encoder)
	w.encoder = nil
	return err
}

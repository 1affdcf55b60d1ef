package sink

import (
	"io"
	"sync"

	"github.com/klauspost/compress/zstd"
	"github.com/segmentio/kafka-go/compress"
)

// zstdCodec compresses with little memory. kafka-go's codec uses 18 MB for each partition that is
// written to at the same time. zstdCodec uses 1 MB, is faster and compresses the tap's records no
// worse. It decompresses with kafka-go's codec.
type zstdCodec struct {
	compress.Codec
	encoders sync.Pool // of *zstd.Encoder
}

// kafka-go looks up the codec in this table for each batch.
func init() {
	compress.Codecs[compress.Zstd] = &zstdCodec{Codec: compress.Codecs[compress.Zstd]}
}

// zstdWindow is the largest distance, in bytes, at which repetitions are found. It covers about a
// hundred records.
const zstdWindow = 256 << 10

// NewWriter implements compress.Codec.
func (c *zstdCodec) NewWriter(w io.Writer) io.WriteCloser {
	e, ok := c.encoders.Get().(*zstd.Encoder)
	if !ok {
		// NewWriter fails only for invalid options, and these options are valid.
		e, _ = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(zstdWindow),
			zstd.WithLowerEncoderMem(true), zstd.WithEncoderConcurrency(1), zstd.WithZeroFrames(true))
	}
	e.Reset(w)
	return &zstdWriter{e, c}
}

// zstdWriter returns its encoder to the pool when it is closed.
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
	w.encoder.Reset(nil) // drops the reference to the underlying writer
	w.codec.encoders.Put(w.encoder)
	w.encoder = nil
	return err
}

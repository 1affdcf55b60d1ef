package pcapfile

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// maxWindow bounds the window of a zstd frame, and with it the memory of the decoder, in bytes. zstd's levels up to 20 need less. The blocks
// of lz4 have at most 4 MiB, and the window of gzip has 32 KiB.
const maxWindow = 32 << 20

// The first bytes of compressed files: RFC 1952 section 2.3.1, RFC 8878 section 3.1.1, and the LZ4 frame format.
var (
	gzipMagic = []byte{0x1f, 0x8b}
	zstdMagic = []byte{0x28, 0xb5, 0x2f, 0xfd}
	lz4Magic  = []byte{0x04, 0x22, 0x4d, 0x18}
)

// decompress returns a reader of the decompressed contents of in, or nil if in is not compressed by gzip, zstd or lz4. Memory is bounded,
// however much the contents are.
func decompress(in *bufio.Reader) (io.Reader, error) {
	head, _ := in.Peek(len(zstdMagic))
	switch {
	case bytes.HasPrefix(head, gzipMagic):
		z, err := gzip.NewReader(in)
		if err != nil {
			return nil, fmt.Errorf("not gzip, although it starts like gzip: %w", err)
		}
		return z, nil
	case bytes.Equal(head, zstdMagic):
		z, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, fmt.Errorf("zstd: %w", err)
		}
		return &named{"zstd", z}, nil
	case bytes.Equal(head, lz4Magic):
		return &named{"lz4", &lz4Frames{in: in}}, nil
	}
	return nil, nil
}

// named adds the name of a format to errors, except those about the end of the file.
type named struct {
	format string
	io.Reader
}

func (n *named) Read(b []byte) (int, error) {
	read, err := n.Reader.Read(b)
	switch {
	case err == nil, errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
	case errors.Is(err, zstd.ErrWindowSizeExceeded), errors.Is(err, zstd.ErrDecoderSizeExceeded):
		err = fmt.Errorf("compressed by zstd with a window of more than %d MiB: decompress it first (zstd -d --long=31)", maxWindow>>20)
	default:
		err = fmt.Errorf("%s: %w", n.format, err)
	}
	return read, err
}

// lz4Frames reads one frame after the other, as lz4 -d does.
type lz4Frames struct {
	in *bufio.Reader
	z  *lz4.Reader // must not be used after it returned io.EOF; nil: a frame has ended
}

func (f *lz4Frames) Read(b []byte) (n int, err error) {
	for n == 0 && err == nil && len(b) > 0 {
		if f.z == nil {
			switch head, err := f.in.Peek(len(lz4Magic)); {
			case len(head) == 0:
				return 0, err
			case !bytes.Equal(head, lz4Magic):
				return 0, errors.New("bytes after the end of a frame")
			}
			f.z = lz4.NewReader(f.in)
		}
		if n, err = f.z.Read(b); errors.Is(err, io.EOF) {
			f.z, err = nil, nil
		}
	}
	return n, err
}

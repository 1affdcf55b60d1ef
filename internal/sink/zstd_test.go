package sink

import (
	"bytes"
	"io"
	"sync"
	"testing"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/compress/zstd"
)

// TestZstd: kafka-go's own codec reads the output of many concurrent writers. A writer that is closed twice returns its encoder once.
func TestZstd(t *testing.T) {
	ours, theirs := kafka.Zstd.Codec(), &zstd.Codec{}
	if _, ok := ours.(*zstdCodec); !ok {
		t.Fatalf("kafka-go writes with %T", ours)
	}
	var all sync.WaitGroup
	for n := range 8 {
		all.Go(func() {
			for round := range 20 {
				var out bytes.Buffer
				w := ours.NewWriter(&out)
				data := bytes.Repeat([]byte{byte(n), byte(round), 'x'}, 1+n*50_000)
				if _, err := w.Write(data); err != nil {
					t.Error(err)
				}
				if err := w.Close(); err != nil {
					t.Error(err)
				}
				w.Close()
				if _, err := w.Write(data); err == nil {
					t.Error("written after Close")
				}
				got, err := io.ReadAll(theirs.NewReader(&out))
				if err != nil || !bytes.Equal(got, data) {
					t.Errorf("read %d bytes, wrote %d: %v", len(got), len(data), err)
				}
			}
		})
	}
	all.Wait()
}

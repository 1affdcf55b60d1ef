//go:build linux

package afpacket_test

import (
	"context"
	"fmt"
	"os/signal"
	"syscall"

	"github.com/meshtls-tap/meshtls-tap/internal/afpacket"
)

// Open starts the capture, Run reads until Close. The packets of a block are valid only during the callback.
func ExampleOpen() {
	handle, err := afpacket.Open(afpacket.Config{Interface: "eth0", RingBytes: 4 << 20})
	if err != nil {
		fmt.Println(err) // says what to do, such as to add NET_RAW
		return
	}

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	defer context.AfterFunc(ctx, func() { _ = handle.Close() })()

	err = handle.Run(func(b *afpacket.Block) {
		for p, ok := b.Next(); ok; p, ok = b.Next() {
			fmt.Println(p.Time, p.Length, len(p.Data))
		}
	})
	if err != nil {
		fmt.Println(err) // for example because the interface was deleted
	}
}

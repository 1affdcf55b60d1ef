package flow_test

import (
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/flow"
)

// BenchmarkPrefetch is BenchmarkAdd for many connections in turn, with and without prefetching.
func BenchmarkPrefetch(b *testing.B) {
	data := string(make([]byte, 50))
	for _, n := range []int{1_000, 10_000, 100_000} {
		for _, ahead := range []bool{false, true} {
			b.Run(fmt.Sprintf("%d connections/ahead %v", n, ahead), func(b *testing.B) {
				table := flow.NewTable(flow.Config{MaxConns: n}, nothing{})
				ps := make([]flow.Packet, flow.MaxPrefetch)
				for i := range ps {
					ps[i] = (&step{flags: "PA", seq: 1, ack: 1, data: data}).packet(client, server)
				}
				now, i := start.Add(time.Second).UnixNano(), 0
				b.ReportAllocs()
				for b.Loop() {
					k := i % len(ps)
					if k == 0 {
						for j := range ps {
							turn := (i + j) % n * 7919 % n // packets that follow each other belong to connections that are far apart in memory
							now += 5000
							ps[j].Time = now
							binary.BigEndian.PutUint32(ps[j].Data[14+12:], 10<<24|uint32(turn))
							binary.BigEndian.PutUint32(ps[j].Data[14+20+4:], clientISN+1+uint32((i+j)/n*len(data)))
						}
						if ahead {
							table.Prefetch(ps)
						}
					}
					table.Add(&ps[k])
					i++
				}
			})
		}
	}
}

package afpacket

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/gopacket/pcapgo"
	"golang.org/x/sys/unix"
)

// The benchmarks flood one end of a veth pair from another process and capture the other end
// here: this process's CPU time is the cost of capturing.
//
//	go test -run '^$' -bench . -benchtime 2s ./internal/afpacket

// BenchmarkRing captures with a Handle.
func BenchmarkRing(b *testing.B) {
	l, r := pair(b)
	h := r.open(b, Config{Interface: "right0"})
	seen := 0
	done := make(chan error, 1)
	go func() {
		done <- h.Run(func(block *Block) {
			for p, ok := block.Next(); ok; p, ok = block.Next() {
				touch(p.Data)
				seen++
			}
		})
	}()
	measure(b, l, func() int {
		h.Close()
		if err := <-done; err != nil {
			b.Fatal(err)
		}
		return seen
	})
}

// BenchmarkEthernetHandle captures with gopacket's EthernetHandle, without copying.
func BenchmarkEthernetHandle(b *testing.B) {
	l, r := pair(b)
	var h *pcapgo.EthernetHandle
	r.do(b, func() (err error) {
		h, err = pcapgo.NewEthernetHandle("right0")
		return err
	})
	defer h.Close()
	if err := h.SetCaptureLength(1 << 18); err != nil {
		b.Fatal(err)
	}
	seen := 0
	done := make(chan error, 1)
	go func() {
		for {
			data, _, err := h.ZeroCopyReadPacketData()
			if err != nil || binary.BigEndian.Uint16(data[12:]) == endMark {
				done <- err
				return
			}
			touch(data)
			seen++
		}
	}()
	measure(b, l, func() int {
		for {
			flooding(b, l, 0, 1)
			select {
			case err := <-done:
				if err != nil {
					b.Fatal(err)
				}
				return seen
			case <-time.After(10 * time.Millisecond):
			}
		}
	})
}

// BenchmarkNoCapture measures the sender's cost of the flood without a capture.
func BenchmarkNoCapture(b *testing.B) {
	l, _ := pair(b)
	measure(b, l, func() int { return b.N })
}

var touched byte

// touch reads a byte of the packet, as a decoder would.
func touch(data []byte) { touched += data[len(data)/2] }

// measure floods with b.N packets. stop ends the capture and returns the number of packets seen.
func measure(b *testing.B, from *namespace, stop func() int) {
	b.Helper()
	before := cpu()
	b.ResetTimer()
	sender := flooding(b, from, b.N, 0)
	b.StopTimer()
	seen := stop()
	if seen == 0 {
		b.Fatal("nothing was seen")
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "packets/s")
	b.ReportMetric(float64(cpu()-before)/float64(seen), "cpu-ns/packet")
	b.ReportMetric(float64(sender)/float64(b.N), "sender-ns/packet")
	b.ReportMetric(100*max(0, 1-float64(seen)/float64(b.N)), "lost-%")
}

// cpu returns the CPU time that this process has used.
func cpu() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// endMark is the EtherType of the frame after the last one.
const endMark = 0x88b6

// flooding runs floodHelper in the namespace. It returns the processor time that floodHelper used.
func flooding(b *testing.B, n *namespace, frames, ends int) time.Duration {
	b.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), helper+"=flood", fmt.Sprint("FRAMES=", frames), fmt.Sprint("ENDS=", ends))
	cmd.Stderr = os.Stderr
	n.do(b, cmd.Start)
	if err := cmd.Wait(); err != nil {
		b.Fatal(err)
	}
	return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
}

// floodHelper sends frames of 120 bytes that belong to 5,000 flows, and then frames with endMark.
// The destination does not exist.
func floodHelper() {
	frames, _ := strconv.Atoi(os.Getenv("FRAMES"))
	ends, _ := strconv.Atoi(os.Getenv("ENDS"))
	if err := sendFrames(frames, ends); err != nil {
		fmt.Fprintln(os.Stderr, "flood:", err)
		os.Exit(1)
	}
}

func sendFrames(frames, ends int) error {
	d, err := lookup("left0")
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := bind(fd, d.index, endMark); err != nil {
		return err
	}
	const length = 120
	frame := make([]byte, length)
	copy(frame, "\x02nobody\x02sends\x08\x00"[:14])
	binary.BigEndian.PutUint16(frame[12:], 0x0800)
	copy(frame[14:], ipv4(make([]byte, length-14-28), [4]byte{10, 9, 0, 1}, [4]byte{10, 9, 0, 3}, 0))
	for i := range frames {
		binary.BigEndian.PutUint16(frame[14+20:], uint16(1024+i%5000))
		for {
			_, err := unix.Write(fd, frame)
			if err == nil {
				break
			}
			if !errors.Is(err, unix.ENOBUFS) && !errors.Is(err, unix.EINTR) {
				return err
			}
		}
	}
	binary.BigEndian.PutUint16(frame[12:], endMark)
	for range ends {
		if _, err := unix.Write(fd, frame); err != nil {
			return err
		}
	}
	return nil
}

// BenchmarkArrival sends single packets. It reports the time from a packet's arrival to the
// callback, which the retire timeout determines.
func BenchmarkArrival(b *testing.B) {
	for _, retire := range []time.Duration{10 * time.Millisecond, defaultRetire, 100 * time.Millisecond} {
		b.Run(retire.String(), func(b *testing.B) {
			n := loopback(b)
			from, to := n.datagrams(b, "udp4", "127.0.0.1"), n.datagrams(b, "udp4", "127.0.0.1")
			h := n.open(b, Config{Interface: "lo", Filter: toPort(b, port(to)), Retire: retire})
			var mu sync.Mutex
			var delays []time.Duration
			done := make(chan error, 1)
			go func() {
				done <- h.Run(func(block *Block) {
					now := time.Now().UnixNano()
					mu.Lock()
					defer mu.Unlock()
					for p, ok := block.Next(); ok; p, ok = block.Next() {
						delays = append(delays, time.Duration(now-p.Time))
					}
				})
			}()
			b.ResetTimer()
			for range b.N {
				time.Sleep(7 * time.Millisecond)
				send(b, from, to, []byte("datagram"))
			}
			b.StopTimer()
			eventually(b, "all packets", func() bool {
				mu.Lock()
				defer mu.Unlock()
				return len(delays) == b.N
			})
			h.Close()
			<-done
			slices.Sort(delays)
			b.ReportMetric(float64(delays[b.N/2])/1e6, "p50-ms")
			b.ReportMetric(float64(delays[b.N*99/100])/1e6, "p99-ms")
		})
	}
}

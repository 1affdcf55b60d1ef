// Package live captures the packets of a network namespace's interfaces and adds them to a pipeline. It follows the interfaces as
// they come and go, and the namespace's addresses (rtnetlink(7)). It changes the kernel's filters when connections settle.
//
// Order of use:
//
//   - [New] reads the addresses. The configuration of the pipeline needs the methods [Capture.IsLocal] and [Capture.Receives].
//   - [Capture.Attach] connects the capture to the pipeline.
//   - [Capture.Start] starts to capture, on goroutines of its own. [Capture.Tick] must then be called whenever
//     [Capture.WaitTick] returns true.
//   - [Capture.Stop] ends the capture. Start may begin another one.
//   - [Capture.Close] stops following the addresses.
//
// The pipeline's lock also guards most of a Capture, because addresses and filters change between two blocks of packets. The
// caller of a method with a parameter of type [pipeline.Locked] holds the lock.
//
// On systems other than Linux the package compiles, and no interface can be opened.
package live

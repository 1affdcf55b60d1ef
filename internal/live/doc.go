// Package live captures the packets of a network namespace's interfaces and adds them to a pipeline. It follows the interfaces as
// they come and go, and the namespace's addresses (rtnetlink(7)), and changes the kernel's filters as connections settle.
//
// Order of use:
//
//   - [New] reads the addresses. Its methods IsLocal and Receives belong into the configuration of the pipeline.
//   - [Capture.Attach] joins it to the pipeline.
//   - [Capture.Start] starts to capture, on goroutines of its own. [Capture.Tick] must then be called every [TickEvery].
//   - [Capture.Stop] ends that. Start may follow again.
//   - [Capture.Close] releases what remains.
//
// Much of a Capture is guarded by the pipeline's lock, since it changes between two blocks of packets: methods with a
// [pipeline.Locked] are called while it is held.
//
// On systems other than Linux the package compiles, and no interface can be opened.
package live

// Package kerneltest runs classic BPF programs in the kernel, for tests.
//
// Order of use: [New] returns a [Kernel] for one test; [Kernel.Attach] installs a program; [Kernel.Run] returns how many bytes of a packet
// the program keeps.
package kerneltest

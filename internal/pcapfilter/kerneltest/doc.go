// Package kerneltest runs classic BPF programs in the kernel, for tests.
package kerneltest

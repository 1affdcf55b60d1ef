// Package limits sizes the tap's rings, tables, buffers and heap to its memory limit.
//
// Order of use: [ControlGroup] reads the memory limit of the process's control group; [For] divides it among rings, tables, buffers and heap;
// [Limits.Apply] sets the garbage collector. A [Heap] returns unused memory to the node: call Trim every few seconds.
package limits

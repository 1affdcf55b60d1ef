// Package eventually lets tests wait for a condition, never for a time.
//
// [True] waits for a condition and fails the test after [Limit], naming what it waited for. [Holds] only reports the result. An [Output]
// collects the output of a process for such conditions.
package eventually

// Package eventually lets tests wait for a condition instead of a fixed time.
//
// Order of use: [True] waits for a condition. If it is still false after [Limit], True fails the test and prints the name of the
// condition. [Holds] only reports the result. An [Output] collects the output of a process, so that conditions can
// examine it.
package eventually

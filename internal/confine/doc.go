// Package confine runs the tests of a package so that nothing outlives them.
//
// Order of use: TestMain calls [Main] with m.Run.
//
// Cleanup functions do not run when a test binary is interrupted (Ctrl-C), exceeds
// -timeout or panics. Then processes, mounts and temporary directories stay. Main
// therefore runs the tests in a child process and cleans up after it, however it ends:
//
//   - Every descendant is killed, also one in a session of its own: the parent is the
//     subreaper of all of them (prctl(2), PR_SET_CHILD_SUBREAPER).
//   - TMPDIR of the child is one directory, which is removed.
//   - As root the child has a mount namespace of its own, and on request a network
//     namespace of its own; both end with it.
//
// Only SIGKILL of the parent leaves the directory, and processes that have left the
// child's process group. The next Main ends both.
package confine

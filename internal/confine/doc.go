// Package confine runs the tests of a package so that nothing outlives them.
//
// Order of use: TestMain calls [Main] with m.Run.
//
// Cleanup functions do not run when a test binary is interrupted (Ctrl-C), exceeds
// -timeout or panics. Processes, mounts and temporary directories would then remain. So Main
// runs the tests in a child process and cleans up after the child, however it ends:
//
//   - Every descendant is killed, even in another session: the parent is the subreaper of all
//     of them (prctl(2), PR_SET_CHILD_SUBREAPER).
//   - TMPDIR of the child is one directory, which is removed.
//   - As root the child has its own mount namespace, and on request its own network namespace;
//     both end with it.
//
// If the parent ends by SIGKILL, the directory remains, and so do processes outside the child's
// process group. The next call of Main removes both.
package confine

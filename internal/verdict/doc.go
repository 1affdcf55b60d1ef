// Package verdict judges one connection from what its packets and bytes have shown: mutual TLS, TLS, plaintext, encrypted by
// other means, failed or unknown, with the basis of the verdict and its reasons.
//
// Order of use: [New] returns a [Judge] for one tap or capture, since resumed TLS sessions inherit from earlier ones. For each connection:
//
//   - [Judge.Learn] after new bytes: DNS answers name later connections.
//   - [Judge.Settled] after each change of the session (Session.Revision) reports, at little cost, whether the verdict is final.
//   - [Judge.Judge] returns the verdict so far; with ended set, the final one.
//   - [Judge.Conclude] returns a [Conclusion] that replaces a finished session. [Judge.JudgeConclusion] then judges the connection's end,
//     [Judge.Resume] makes a session of the conclusion again if bytes follow TLS, and [Judge.Release] releases it.
//
// The package errs on one side only: it claims what was shown; otherwise the verdict is a lesser one, or unknown with its reason.
// A Judge is not safe for concurrent use.
package verdict

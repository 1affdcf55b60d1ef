// Package verdict judges one connection from what its packets and bytes have shown: mutual TLS, TLS, plaintext, encrypted by
// other means, failed or unknown, with the basis of the verdict and its reasons.
//
// Order of use: [New] returns a [Judge] for one tap or capture. The Judge remembers handshakes, because a connection may
// resume the TLS session of an earlier one. For each connection:
//
//   - [Judge.Learn] after new bytes: DNS answers name later connections.
//   - [Judge.Settled] after each change of the session (Session.Revision) reports, at little cost, whether the verdict is final.
//   - [Judge.Judge] returns the verdict so far; with ended set, the final one.
//   - [Judge.Conclude] returns a [Conclusion] that replaces a finished session. [Judge.JudgeConclusion] then judges the
//     connection's end. If bytes follow TLS, [Judge.Resume] turns the conclusion back into a session. Otherwise [Judge.Release]
//     releases the conclusion.
//
// The package claims only facts that were shown. Without proof, the verdict is a weaker one, or unknown with its reason.
// A Judge is not safe for concurrent use.
package verdict

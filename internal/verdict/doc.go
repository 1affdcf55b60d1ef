// Package verdict judges one connection from what its packets and bytes have shown: mutual TLS, TLS, plaintext or neither, on what basis and
// why.
//
// Order of use: [New] makes a [Judge] for one tap or capture, since resumed sessions inherit from earlier ones. For each connection:
//
//   - [Judge.Learn] after new bytes: DNS answers name later connections.
//   - [Judge.Settled] after each change of the session (Session.Revision): whether more bytes can change the verdict. It is cheap.
//   - [Judge.Judge] returns the verdict so far, and at the end, with ended set, the last one.
//   - [Judge.Rest], once the session is finished, returns a [Rest] that replaces the session. [Judge.JudgeRest] then judges the end,
//     [Judge.Resume] makes a session of it again if bytes follow TLS, and [Judge.Drop] releases it.
//
// The package errs on one side only: a claim is made where it was shown; otherwise the verdict is a lesser one, or unknown with its reason.
// A Judge is not safe for concurrent use.
package verdict

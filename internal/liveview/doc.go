// Package liveview shows the edges between workloads while taps report them: on a terminal as a table in place, otherwise as plain lines.
//
// Order of use: Run shows the states of a source until the user quits, the context ends or the state says that the taps have ended. It
// restores the terminal before it returns. Summary then writes the last state to the normal screen, with the reason for the end.
// Names come from packets, so characters that a terminal interprets or does not show are escaped.
package liveview

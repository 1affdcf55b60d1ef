// Package attach runs taps in running pods, as ephemeral containers, and reads their records. Nothing is restarted.
package attach

package main

import (
	"fmt"
	"os"
	"strings"
	"text/tabwriter"
)

// print writes a table with one line for each connection of each tap.
func (w *walk) print() {
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "  TAP\tON\tVERDICT\tPROTOCOL\tHOW SURE\tSCOPE\tEXPECTED\tFINDING AFTER CURL BEGAN")
	for _, pod := range pods {
		for _, iface := range []string{"eth0", "lo"} {
			for _, r := range w.seen(pod, iface) {
				on := iface
				if r.redirected().IsValid() {
					on += ", redirected"
				}
				fmt.Fprintln(t, "  "+strings.Join([]string{pod, on, r.Meshtls.Verdict, r.protocol(), r.sure(), r.Meshtls.Scope, r.Meshtls.Expectation, w.soon(r)}, "\t"))
			}
		}
	}

	t.Flush()
	if w.broker == "" {
		return
	}

	fmt.Print("\nFindings, as kcat consumed them from meshtls-tap.findings\n\n")
	for _, f := range w.findings {
		fmt.Printf("  %s: %s\n", f.pod(), f.Message)
	}
}

func (r *record) protocol() string {
	if r.TLS.Version != "" {
		return "TLS " + r.TLS.Version + " " + r.TLS.Cipher
	}
	return strings.TrimSpace(r.Network.Protocol + " " + r.HTTP.Version)
}

// sure returns the basis of the verdict. For plaintext it is always "observed".
func (r *record) sure() string {
	if r.TLS.Version == "" {
		return "observed"
	}
	return r.Meshtls.TLS.ClientAuthBasis
}

// soon returns the finding on the edge of a connection, and how long after curl's start the finding was opened.
func (w *walk) soon(r *record) string {
	if r.Meshtls.Scope == "wire" {
		for _, f := range w.found(r.pod(), r.server()) {
			return fmt.Sprintf("%s %v", f.Rule.ID, w.delay(f))
		}
	}
	return "none"
}

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// print writes the answer.
func (w *walk) print() {
	fmt.Println("\nOn the wire, as the taps at both ends say:")
	for _, namespace := range []string{"unencrypted", "encrypted"} {
		seen := w.seen(namespace+"-curl", "eth0")
		if len(seen) == 0 {
			continue
		}
		wire := seen[0]
		fmt.Printf("\n  %s: curl %s > httpbin %s\n", namespace, wire.Source.IP, wire.Destination)
		row("verdict", wire.verdict())
		row("how sure", wire.sure())
		row("why", strings.Join(wire.Meshtls.Reasons, ", "))
		row("expectation", wire.Meshtls.Expectation)
		w.printFindings(namespace, wire)
		if namespace == "encrypted" {
			log, _ := os.ReadFile(filepath.Join(w.out, "envoy-access.log"))
			row("Envoy's log", strings.TrimSpace(string(log)))
		}
	}
	w.printLoopback()
	w.printBroker()
}

func row(name, text string) { fmt.Printf("    %-12s %s\n", name, text) }

// verdict names the verdict and what it is of.
func (r *record) verdict() string {
	if r.TLS.Version != "" {
		return r.Meshtls.Verdict + ": TLS " + r.TLS.Version + ", " + r.TLS.Cipher + ", client certificate " + r.Meshtls.TLS.ClientAuth
	}
	return strings.TrimSpace(r.Meshtls.Verdict + ": " + r.Network.Protocol + " " + r.HTTP.Version)
}

// sure is the basis of what the verdict rests on: the cleartext itself, or of what the client's authentication was told.
func (r *record) sure() string {
	if r.TLS.Version != "" {
		return r.Meshtls.TLS.Basis
	}
	return "observed"
}

// printFindings says what was found on an edge at its two ends, and how soon.
func (w *walk) printFindings(namespace string, wire *record) {
	none := true
	for _, name := range []string{"curl", "httpbin"} {
		for _, f := range w.found(namespace+"-"+name, wire.Destination) {
			none = false
			row("finding", fmt.Sprintf("%s, %v after curl began, beside %s: %s", f.Rule.ID, w.delay(f), name, f.Message))
		}
	}
	if none {
		row("finding", "none")
	}
}

// printLoopback: what stays in a pod is no breach.
func (w *walk) printLoopback() {
	fmt.Println("\nOn loopback, within the pods (no finding):")
	fmt.Println()
	for _, pod := range pods {
		for _, r := range w.seen(pod, "lo") {
			to := r.Destination.String()
			if r.Destination.NAT != nil {
				to += ", redirected to " + r.Destination.NAT.String()
			}
			fmt.Printf("  %s: %s > %s\n", pod, r.Source.IP, to)
			row("verdict", r.verdict()+", scope "+r.Meshtls.Scope)
		}
	}
}

// printBroker: the findings above were consumed from the topic; here is the one on the broker itself.
func (w *walk) printBroker() {
	if w.broker == "" {
		return
	}
	fmt.Printf("\nOn the broker %s, which the taps publish to as well (not found: it is their own):\n\n", w.broker)
	for _, f := range w.toBroker(w.findings) {
		fmt.Printf("  %s: %s > %s\n", f.pod(), f.Source.IP, f.Destination)
		row("finding", f.Rule.ID+": "+f.Message)
	}
}

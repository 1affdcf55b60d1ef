package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// print writes the answer.
func (w *walk) print() {
	fmt.Println("\nOn the wire")
	for _, namespace := range []string{"unencrypted", "encrypted"} {
		if seen := w.seen(namespace+"-curl", "eth0"); len(seen) > 0 {
			w.printWire(namespace, seen[0])
		}
	}
	w.printLoopback()
	w.printBroker()
	w.printWhere()
}

func (w *walk) printWire(namespace string, r *record) {
	fmt.Printf("\n  %s: curl %s > httpbin %s\n", namespace, r.Source.IP, r.Destination)
	row("verdict", r.verdict())
	row("how sure", r.sure())
	row("why", strings.Join(r.Meshtls.Reasons, ", "))
	row("expected", r.Meshtls.Expectation)
	w.printFindings(namespace, r.Destination)
	if namespace == "encrypted" {
		log, _ := os.ReadFile(filepath.Join(w.out, "envoy-access.log"))
		row("Envoy says", strings.TrimSpace(string(log)))
	}
}

func row(name, text string) { fmt.Printf("    %-10s  %s\n", name, text) }

// verdict names the verdict and what it is of.
func (r *record) verdict() string {
	if r.TLS.Version != "" {
		return r.Meshtls.Verdict + ": TLS " + r.TLS.Version + ", " + r.TLS.Cipher + ", client certificate " + r.Meshtls.TLS.ClientAuth
	}
	return r.Meshtls.Verdict + ": " + strings.TrimSpace(strings.ToUpper(r.Network.Protocol)+" "+r.HTTP.Version)
}

// sure is the basis that the verdict rests on, and what that means.
func (r *record) sure() string {
	switch basis := r.Meshtls.TLS.Basis; {
	case r.TLS.Version == "":
		return "it was read in the clear"
	case basis == "inferred":
		return basis + ", from the sizes of records: TLS 1.3 encrypts the certificates"
	default:
		return basis
	}
}

// printFindings says what was found on an edge at its two ends, and how soon.
func (w *walk) printFindings(namespace string, to endpoint) {
	none := true
	for _, name := range []string{"curl", "httpbin"} {
		for _, f := range w.found(namespace+"-"+name, to) {
			none = false
			row("finding", fmt.Sprintf("%s, severity %d, %v after curl began, by the tap beside %s:", f.Rule.ID, f.Event.Severity, w.delay(f), name))
			row("", f.Message)
		}
	}
	if none {
		row("finding", "none")
	}
}

// printLoopback: what stays in a pod is no breach.
func (w *walk) printLoopback() {
	fmt.Println("\nOn loopback, within the pods: expected, and no finding")
	for _, pod := range pods {
		for _, r := range w.seen(pod, "lo") {
			to := r.Destination.String()
			if r.Destination.NAT != nil {
				to += ", redirected to " + r.Destination.NAT.String()
			}
			fmt.Printf("\n  %s: %s > %s\n", pod, r.Source.IP, to)
			row("verdict", r.verdict()+", scope "+r.Meshtls.Scope)
		}
	}
}

// printBroker: all findings were consumed from the topic; this is the one on the broker itself.
func (w *walk) printBroker() {
	if w.broker == "" {
		return
	}
	fmt.Printf("\nTo the broker %s: an application's Kafka in the clear is found, the taps' own records are not\n", w.broker)
	for _, f := range w.toBroker(w.findings) {
		fmt.Printf("\n  %s: %s > %s\n", f.pod(), f.Source.IP, f.Destination)
		row("finding", f.Rule.ID+", severity "+fmt.Sprint(f.Event.Severity)+":")
		row("", f.Message)
	}
}

// printWhere says where all of it can be read.
func (w *walk) printWhere() {
	out := w.out
	if here, err := os.Getwd(); err == nil {
		if rel, err := filepath.Rel(here, out); err == nil {
			out = rel
		}
	}
	records := out + "/tap-*.jsonl"
	if w.broker != "" {
		records = out + "/topic-*.jsonl, as kcat consumed them"
	}
	fmt.Println()
	fmt.Println("records   " + records)
	fmt.Println("captures  " + out + "/*.pcap, by tcpdump; bin/tap read FILE... says the same of each connection")
	fmt.Println("logs      " + out + "/*.log")
}

package pipeline_test

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
	"github.com/meshtls-tap/meshtls-tap/internal/finding"
)

// at returns a conversation as the packets of a connection between two ends that starts some seconds after captureStart.
func at(seconds int, talk *capturetest.Conversation, client, server string) []capturetest.Frame {
	return talk.Packets(capturetest.Options{
		Client: netip.MustParseAddrPort(client), Server: netip.MustParseAddrPort(server), Start: captureStart.Add(time.Duration(seconds) * time.Second),
	})
}

func TestPlaintextAccepted(t *testing.T) {
	const id, server, meshed, other = "plaintext-accepted", "10.1.0.7:8080", "10.1.0.20:40000", "10.1.0.30:40000"
	plain, err := capturetest.HTTPTalk()
	if err != nil {
		t.Fatal(err)
	}
	refused, err := capturetest.Record(capturetest.RequestOver, func(c net.Conn) error {
		if _, err := http.ReadRequest(bufio.NewReader(c)); err != nil {
			return err
		}
		_, err := io.WriteString(c, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	mutual, err := capturetest.TLSTalk(tls.VersionTLS13, capturetest.Presented, 1)
	if err != nil {
		t.Fatal(err)
	}
	oneWay, err := capturetest.TLSTalk(tls.VersionTLS13, capturetest.NotRequested, 1)
	if err != nil {
		t.Fatal(err)
	}

	first := at(0, mutual[0], meshed, server)
	got := judge(t, slices.Concat(first, at(1, plain, other, server)))
	got.fires(t, id, 47, "10.1.0.30 spoke HTTP in plaintext to 10.1.0.7 port 8080, which answered it although it also speaks mutual TLS.")
	reversed := judge(t, slices.Concat(at(0, plain, other, server), at(1, mutual[0], meshed, server)))
	reversed.fires(t, id, 47, "10.1.0.30 spoke HTTP in plaintext")

	for name, second := range map[string][]capturetest.Frame{
		"refused":      at(1, refused, other, server),
		"another port": at(1, plain, other, "10.1.0.7:9090"),
	} {
		near := judge(t, slices.Concat(first, second))
		if of := near.rule(id); of != nil {
			t.Errorf("%s: findings %q", name, of)
		}
	}
	near := judge(t, slices.Concat(at(0, oneWay[0], meshed, server), at(1, plain, other, server)))
	near.silent(t, id, false)

	lost := judge(t, slices.Concat(first, withoutFirst(t, true, at(1, plain, "10.1.0.30:40000", server))))
	lost.silent(t, id, true)
}

func TestEdgeUnjudged(t *testing.T) {
	const id = "edge-unjudged"
	random := func() *capturetest.Conversation {
		talk := &capturetest.Conversation{}
		for i := range 4 {
			b := make([]byte, 400)
			if _, err := rand.Read(b); err != nil {
				t.Fatal(err)
			}
			talk.Chunks = append(talk.Chunks, capturetest.Chunk{FromServer: i%2 == 1, Data: b, Read: 400 * (i / 2)})
		}
		return talk
	}
	plain, err := capturetest.HTTPTalk()
	if err != nil {
		t.Fatal(err)
	}
	many := func(n int, talk func() *capturetest.Conversation, change func([]capturetest.Frame) []capturetest.Frame) (out []capturetest.Frame) {
		for i := range n {
			out = append(out, change(at(i, talk(), fmt.Sprintf("10.1.0.20:%d", 40000+i), "10.1.0.7:9000"))...)
		}
		return out
	}
	whole := func(f []capturetest.Frame) []capturetest.Frame { return f }

	got := judge(t, many(10, random, whole))
	got.fires(t, id, 47, "its bytes match no known protocol: ask its owners whether it is encrypted, and declare the answer (TAP_EXPECT): 10 connections since 2026-01-01 12:00:00Z.")

	few := judge(t, many(9, random, whole))
	few.silent(t, id, false)
	one := judge(t, append(many(10, random, whole), at(11, plain, "10.1.0.20:50000", "10.1.0.7:9000")...))
	one.silent(t, id, false)

	// The capture lost one direction of plaintext: the rule reports that there is no proof.
	lost := judge(t, many(10, random, func(f []capturetest.Frame) []capturetest.Frame {
		return withoutFirst(t, true, withoutFirst(t, true, f))
	}))
	lost.fires(t, id, 47, "bytes were lost: look for dropped packets in the heartbeats")
}

// agreeOn records TLS in which the server accepts one group only.
func agreeOn(t *testing.T, group tls.CurveID) *capturetest.Conversation {
	t.Helper()
	return offerAndAgreeOn(t, &tls.Config{}, group) //nolint:gosec // the test is about the wire
}

// offerAndAgreeOn is agreeOn with a client of a configuration.
func offerAndAgreeOn(t *testing.T, client *tls.Config, group tls.CurveID) *capturetest.Conversation {
	t.Helper()
	client.InsecureSkipVerify, client.ServerName = true, "cart"
	cert := workload(t)
	talk, err := capturetest.Record(
		capturetest.HTTPClient(client, 10),
		capturetest.HTTPServer(&tls.Config{Certificates: []tls.Certificate{cert}, CurvePreferences: []tls.CurveID{group}}, 10))
	if err != nil {
		t.Fatal(err)
	}
	return talk
}

// choosing records TLS in which the server chooses a group by its number: one that the recorded client does not offer.
func choosing(t *testing.T, group uint16) *capturetest.Conversation {
	t.Helper()
	share := func(group uint16) []byte { // the extension key_share of a ServerHello, up to the key (RFC 8446 section 4.2.8)
		return append(binary.BigEndian.AppendUint16([]byte{0, 51, 0, 36}, group), 0, 32)
	}
	talk := agreeOn(t, tls.X25519)
	for i := range talk.Chunks {
		c := &talk.Chunks[i]
		if at := bytes.Index(c.Data, share(uint16(tls.X25519))); c.FromServer && at >= 0 {
			copy(c.Data[at:], share(group))
			return talk
		}
	}
	t.Fatal("no ServerHello with a key share")
	return nil
}

func TestKeyExchangeDowngrade(t *testing.T) {
	const id, server = "key-exchange-downgrade", "10.1.0.20:443"
	hybrid, classical := agreeOn(t, tls.X25519MLKEM768), agreeOn(t, tls.X25519)
	then := func(talks ...[]capturetest.Frame) []capturetest.Frame { return slices.Concat(talks...) }
	nth := func(i int, talk *capturetest.Conversation) []capturetest.Frame {
		return at(i, talk, fmt.Sprintf("10.1.0.7:%d", 40000+i), server)
	}

	got := judge(t, then(nth(0, hybrid), nth(1, hybrid), nth(2, classical), nth(3, classical)))
	got.fires(t, id, 47, "with the group x25519 to cart (10.1.0.20) port 443, which used a post-quantum group before")

	// The client no longer offers a hybrid group, and is otherwise the same.
	silent := offerAndAgreeOn(t, &tls.Config{CurvePreferences: []tls.CurveID{tls.X25519}}, tls.X25519) //nolint:gosec // the test is about the wire
	got = judge(t, then(nth(0, hybrid), nth(1, silent)))
	got.fires(t, id, 47, "with the group x25519 to cart")

	// Another TLS library, with other cipher suites or another application protocol, at the same address. That it is always classical
	// is no fallback. Its own fallback is one.
	library := func(group tls.CurveID) *capturetest.Conversation {
		return offerAndAgreeOn(t, &tls.Config{MinVersion: tls.VersionTLS13, NextProtos: []string{"http/1.1"}}, group)
	}
	got = judge(t, then(nth(0, hybrid), nth(1, library(tls.X25519MLKEM768)), nth(2, library(tls.X25519))))
	got.fires(t, id, 47, "with the group x25519 to cart")

	for name, near := range map[string][]capturetest.Frame{
		"another TLS library": then(nth(0, hybrid), nth(1, library(tls.X25519)), nth(2, hybrid), nth(3, library(tls.X25519))),
		"clients at one address": then(
			at(0, hybrid, "10.1.0.9:40000", "10.1.0.7:443"), at(1, library(tls.X25519), "10.1.0.9:40001", "10.1.0.7:443")),
		"always classical":     then(nth(0, classical), nth(1, classical)),
		"always hybrid":        then(nth(0, hybrid), nth(1, hybrid)),
		"upgraded":             then(nth(0, classical), nth(1, hybrid)),
		"mixed from the start": then(nth(0, classical), nth(1, hybrid), nth(2, classical)),
		"an unknown group":     then(nth(0, hybrid), nth(1, choosing(t, 0xfe30))),
		"another server":       then(nth(0, hybrid), at(1, classical, "10.1.0.7:40001", "10.1.0.21:443")),
	} {
		t.Run(name, func(t *testing.T) {
			got := judge(t, near)
			got.silent(t, id, false)
		})
	}

	fellBack := judge(t, then(nth(0, hybrid), withoutFirst(t, true, nth(1, classical))))
	fellBack.silent(t, id, false) // the other connection still is evidence
	strangers := judge(t, then(withoutFirst(t, false, nth(0, hybrid)), withoutFirst(t, false, nth(1, classical))))
	strangers.silent(t, id, true) // without their hellos, the clients cannot be compared
	lost := judge(t, then(withoutFirst(t, true, nth(0, hybrid)), withoutFirst(t, true, nth(1, classical))))
	lost.silent(t, id, true)
}

func TestKeyExchangeNotPostQuantum(t *testing.T) {
	const id = "key-exchange-not-post-quantum"
	on := func(frames []capturetest.Frame) outcome {
		severities, err := finding.ParseSeverities(id + "=21")
		if err != nil {
			t.Fatal(err)
		}
		return judgeWith(t, finding.Config{Severities: severities}, frames)
	}
	hybrid, classical := agreeOn(t, tls.X25519MLKEM768), agreeOn(t, tls.CurveP256)

	off := judge(t, frames(classical))
	off.silent(t, id, false)
	got := on(frames(classical))
	got.fires(t, id, 21, "spoke TLS 1.3 with the group secp256r1 to cart (10.1.0.20) port 443, which is not post-quantum.")
	old := on(talkTLS(t, tls.VersionTLS12))
	old.fires(t, id, 21, "spoke TLS 1.2 with the group x25519")

	near := on(frames(hybrid))
	near.silent(t, id, false)

	for name, group := range map[string]uint16{"not assigned": 0x0205, "private use": 0xfe30, "GREASE": 0x2a2a} {
		t.Run(name, func(t *testing.T) {
			unknown := on(frames(choosing(t, group)))
			unknown.silent(t, id, true)
		})
	}

	lost := on(withoutFirst(t, true, frames(agreeOn(t, tls.X25519)))) // with secp256r1, the first bytes are a HelloRetryRequest
	lost.silent(t, id, true)
}

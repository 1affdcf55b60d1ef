package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestNotices: the notices of the tap have Go's name and the name of each module that is linked into the tap, each
// with its license.
func TestNotices(t *testing.T) {
	var out bytes.Buffer
	if err := notices(&out, []string{"linux", "windows"}, []string{"github.com/meshtls-tap/meshtls-tap/cmd/tap"}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"== Go\n", "== github.com/segmentio/kafka-go v", "== golang.org/x/sys v", "Redistributions in binary form", "Permission is hereby granted"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing", want)
		}
	}
	if strings.Contains(out.String(), "== github.com/google/gopacket") {
		t.Error("a module that only tests use is in the notices")
	}
	if strings.Contains(out.String(), "ECharts") {
		t.Error("a script that only the plugin contains is in the notices of the tap")
	}
}

// TestNoticesOfScripts: the notices of the plugin also have the licenses of the charts in its HTML report.
func TestNoticesOfScripts(t *testing.T) {
	var out bytes.Buffer
	if err := notices(&out, []string{"linux", "darwin"}, []string{"github.com/meshtls-tap/meshtls-tap/cmd/kubectl-meshtls"}); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(out.String(), "== charts.min.js\n"); n != 1 {
		t.Errorf("charts.min.js is there %d times", n)
	}
	_, charts, _ := strings.Cut(out.String(), "== charts.min.js\n")
	for _, want := range []string{"Copyright 2017-2026 The Apache Software Foundation", "Apache License, Version 2.0", "d3\nCopyright 2010-2016 Mike Bostock", "Copyright (c) 2017, Baidu Inc.", "Copyright (c) Microsoft", "node-timsort", "Neither the name of the author"} {
		if !strings.Contains(charts, want) {
			t.Errorf("%q is missing", want)
		}
	}
	if strings.Contains(charts, "function") || strings.Contains(charts, "*/") {
		t.Error("the script's code is in the notices")
	}
}

func TestWriteScript(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a.min.js")
	for text, want := range map[string]string{"/*!\nA\nB\n*/\ncode()/*!C*/": "== a.min.js\n\nA\nB\n\n", "code()": "", "/* A */": "", "/*! A": ""} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if err := writeScript(&out, file); out.String() != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", text, out.String(), err)
		}
	}
}

func TestWriteModule(t *testing.T) {
	root := t.TempDir()
	inner := filepath.Join(root, "inner")
	for name, text := range map[string]string{"LICENSE.txt": "first\n", "inner/LICENSE": "first", "inner/NOTICE": "second", "inner/licensed.go": "no"} {
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	if err := writeModule(&out, "m v1", []string{inner, root}); err != nil || out.String() != "== m v1\n\nfirst\n\n--\n\nsecond\n\n" {
		t.Errorf("%q, %v", out.String(), err)
	}
	if err := writeModule(&out, "m v1", []string{t.TempDir()}); err == nil || !strings.Contains(err.Error(), "no license") {
		t.Errorf("a module without a license: %v", err)
	}
}

package main

import (
	"bytes"
	"os"
	"testing"
)

// TestUpToDate: the committed encoder is equal to the one that is generated from the types.
func TestUpToDate(t *testing.T) {
	want, err := generate("..")
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../" + output)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s does not match the types: run go generate ./internal/record", output)
	}
}

package main

import (
	"bytes"
	"os"
	"testing"
)

// TestUpToDate: the encoder in the repository is the one of the types.
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
		t.Errorf("%s is not what the types make: run go generate ./internal/record", output)
	}
}

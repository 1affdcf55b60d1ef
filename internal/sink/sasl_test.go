package sink

import (
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The messages of the example in RFC 7677, section 3.
const (
	rfcServerFirst = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
	rfcClientFinal = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
	rfcServerFinal = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
)

func rfcExchange() *scram {
	return &scram{hash: sha256.New, password: "pencil", first: "n=user,r=rOprNGfwEbeRWgbNEkqO"}
}

func TestScramVector(t *testing.T) {
	s := rfcExchange()
	done, response, err := s.Next(t.Context(), []byte(rfcServerFirst))
	if done || err != nil || string(response) != rfcClientFinal {
		t.Fatalf("done %v, error %v, response %s", done, err, response)
	}
	if done, _, err := s.Next(t.Context(), []byte(rfcServerFinal)); !done || err != nil {
		t.Errorf("done %v, error %v", done, err)
	}
}

func TestScramHostile(t *testing.T) {
	for _, message := range []string{
		"", "r=", strings.Replace(rfcServerFirst, "r=rOpr", "r=xOpr", 1), // in the last one, the nonce is not the client's
		"r=rOprNGfwEbeRWgbNEkqO,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", // the server added nothing to the nonce
		strings.Replace(rfcServerFirst, "i=4096", "i=2000000000", 1), strings.Replace(rfcServerFirst, "i=4096", "i=0", 1),
		strings.Replace(rfcServerFirst, "s=W", "s=!", 1), "e=other-error",
	} {
		if _, _, err := rfcExchange().Next(t.Context(), []byte(message)); !errors.Is(err, errServer) {
			t.Errorf("%q: %v", message, err)
		}
	}
	for _, message := range []string{"", "v=", "e=invalid-proof", "v=" + strings.Repeat("A", 43) + "="} {
		s := rfcExchange()
		s.Next(t.Context(), []byte(rfcServerFirst))
		if _, _, err := s.Next(t.Context(), []byte(message)); !errors.Is(err, errServer) {
			t.Errorf("%q: %v", message, err)
		}
	}
}

func TestLoginReadsThePasswordAnew(t *testing.T) {
	file := filepath.Join(t.TempDir(), "password")
	l := &login{SASLConfig{Mechanism: "plain", Username: "tap", PasswordFile: file}}
	if _, _, err := l.Start(t.Context()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without the file: %v", err)
	}
	for content, want := range map[string]string{"one\n": "\x00tap\x00one", "two": "\x00tap\x00two", " three \r\n": "\x00tap\x00 three "} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, first, err := l.Start(t.Context()); err != nil || string(first) != want {
			t.Errorf("%q: %q, %v", content, first, err)
		}
	}
}

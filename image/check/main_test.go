package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"debug/elf"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const permitted = "\x00\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

func TestCheck(t *testing.T) {
	for name, test := range map[string]struct {
		user, architecture, entrypoint, capability string
		want                                       string // a part of the error; empty if no error is expected
	}{
		"good":           {"59469:59469", "amd64", "tap", permitted, ""},
		"root":           {"", "amd64", "tap", permitted, `user ""`},
		"no capability":  {"59469:59469", "amd64", "tap", "", "0 bytes"},
		"effective":      {"59469:59469", "amd64", "tap", strings.Replace(permitted, "\x00", "\x01", 1), "want cap_net_raw+p"},
		"more than that": {"59469:59469", "amd64", "tap", strings.Replace(permitted, "\x20", "\x30", 1), "want cap_net_raw+p"},
		"wrong machine":  {"59469:59469", "arm64", "tap", permitted, "want EM_AARCH64"},
		"no program":     {"59469:59469", "amd64", "top", permitted, "no /tap"},
	} {
		t.Run(name, func(t *testing.T) {
			var conf config
			conf.Architecture, conf.OS = test.architecture, "linux"
			conf.Config.User = test.user
			conf.Config.Entrypoint, conf.Config.Cmd = []string{"/tap"}, []string{"run"}
			conf.Config.Labels = map[string]string{"org.opencontainers.image.version": "dev"}
			layer := layerOf(t, tar.Header{Name: test.entrypoint, PAXRecords: map[string]string{"SCHILY.xattr.security.capability": test.capability}}, program(t))
			file := filepath.Join(t.TempDir(), "image.tar")
			write(t, file, conf, compress(t, layer))

			_, err := check("meshtls-tap", file, "")
			switch {
			case test.want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("said %v, want %q", err, test.want)
			}
		})
	}
}

// TestCheckWebhook: the webhook's image must have no capability and no command.
func TestCheckWebhook(t *testing.T) {
	for name, test := range map[string]struct{ capability, want string }{
		"good":         {"", ""},
		"a capability": {permitted, "want none"},
	} {
		t.Run(name, func(t *testing.T) {
			var conf config
			conf.Architecture, conf.OS = "amd64", "linux"
			conf.Config.User, conf.Config.Entrypoint = "59469:59469", []string{"/tap-webhook"}
			conf.Config.Labels = map[string]string{"org.opencontainers.image.version": "dev"}
			header := tar.Header{Name: "tap-webhook"}
			if test.capability != "" {
				header.PAXRecords = map[string]string{"SCHILY.xattr.security.capability": test.capability}
			}
			file := filepath.Join(t.TempDir(), "image.tar")
			write(t, file, conf, compress(t, layerOf(t, header, program(t))))
			_, err := check("meshtls-tap-webhook", file, "")
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("said %v, want %q", err, test.want)
			}
		})
	}
}

func TestCheckLicenses(t *testing.T) {
	if err := checkLicenses([]string{"/tap", "/LICENSE", "/NOTICES"}); err != nil {
		t.Error(err)
	}
	for _, names := range [][]string{nil, {"/LICENSE"}, {"/NOTICES", "/src/LICENSE"}} {
		if checkLicenses(names) == nil {
			t.Errorf("%q: no error", names)
		}
	}
}

func TestCheckOther(t *testing.T) {
	file := filepath.Join(t.TempDir(), "other.tar")
	if err := os.WriteFile(file, pack(t, tar.Header{Name: "hello"}, []byte("world")), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := check("meshtls-tap", file, ""); err == nil || !strings.Contains(err.Error(), "not an OCI archive") {
		t.Errorf("said %v, want not an OCI archive", err)
	}
}

// layerOf returns a layer with the licenses and one more file.
func layerOf(t *testing.T, header tar.Header, body []byte) []byte {
	t.Helper()
	layer := unterminated(pack(t, tar.Header{Name: "LICENSE"}, []byte("license")))
	layer = append(layer, unterminated(pack(t, tar.Header{Name: "NOTICES"}, []byte("notices")))...)
	return append(layer, pack(t, header, body)...)
}

// program returns the smallest static ELF program for amd64: only the header.
func program(t *testing.T) []byte {
	t.Helper()
	header := elf.Header64{Type: uint16(elf.ET_EXEC), Machine: uint16(elf.EM_X86_64), Version: uint32(elf.EV_CURRENT)}
	copy(header.Ident[:], elf.ELFMAG)
	header.Ident[elf.EI_CLASS], header.Ident[elf.EI_DATA], header.Ident[elf.EI_VERSION] = byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)
	out, err := binary.Append(nil, binary.LittleEndian, header)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// write writes an OCI archive of one image with one layer. Its index lists an attestation before the image, as
// docker's indexes may.
func write(t *testing.T, file string, conf config, layer []byte) {
	t.Helper()
	var out bytes.Buffer
	blobs := 0
	add := func(content any) descriptor {
		body, ok := content.([]byte)
		if !ok {
			var err error
			if body, err = json.Marshal(content); err != nil {
				t.Fatal(err)
			}
		}
		blobs++
		out.Write(unterminated(pack(t, tar.Header{Name: fmt.Sprintf("blobs/sha256/%d", blobs)}, body)))
		return descriptor{Digest: fmt.Sprintf("sha256:%d", blobs), Size: int64(len(body))}
	}
	image := add(manifest{Config: add(conf), Layers: []descriptor{add(layer)}})
	attestation := descriptor{Digest: "sha256:none", Annotations: map[string]string{"vnd.docker.reference.type": "attestation-manifest"}}
	index, err := json.Marshal(manifest{Manifests: []descriptor{attestation, image}})
	if err != nil {
		t.Fatal(err)
	}
	out.Write(pack(t, tar.Header{Name: "index.json"}, index))
	if err := os.WriteFile(file, out.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

// pack returns a tar with one file.
func pack(t *testing.T, header tar.Header, content []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	to := tar.NewWriter(&out)
	header.Size, header.Mode, header.Typeflag = int64(len(content)), 0o755, tar.TypeReg
	if err := to.WriteHeader(&header); err != nil {
		t.Fatal(err)
	}
	if _, err := to.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := to.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// unterminated removes the two empty blocks at the end of a tar, so that another one can follow.
func unterminated(archive []byte) []byte { return archive[:len(archive)-1024] }

func compress(t *testing.T, content []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	to := gzip.NewWriter(&out)
	if _, err := to.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := to.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

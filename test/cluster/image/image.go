// Package image writes container images of a few files, as archives that `ctr images import` reads. So the tests can
// have images for their pods without a registry or a builder. It uses only the standard library.
//
// Order of use: fill in an [Image] and call [Image.Write].
package image

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"
	"time"
)

// An Image is an image with one layer.
type Image struct {
	Ref        string // full name, such as example.test/probe:1
	Files      []File
	Entrypoint []string
	Cmd        []string
	User       string // such as 65532:65532; root if empty
}

// A File is a regular file in an image.
type File struct {
	To      string // absolute path in the image
	From    string // path of a file to copy, instead of Content
	Content []byte
	Mode    int64 // 0755 if 0
	NetRaw  bool  // the file has the capability cap_net_raw+p, as in the product's image
}

// permitted is the value of the extended attribute security.capability that `setcap cap_net_raw+p` writes: a struct
// vfs_cap_data (linux/capability.h) of revision 2 that permits capability 13, without the effective flag.
const permitted = "\x00\x00\x00\x02\x00\x20\x00\x00" + "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

var epoch = time.Unix(0, 0)

// Write writes the image to a file, as a tar archive with an OCI layout, and returns the digest of its manifest.
func (i Image) Write(file string) (digest string, err error) {
	layer, err := i.layer()
	if err != nil {
		return "", fmt.Errorf("image %s: %w", i.Ref, err)
	}
	config := marshal(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux",
		"config": map[string]any{"Entrypoint": i.Entrypoint, "Cmd": i.Cmd, "User": i.User, "Env": []string{"PATH=/"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{sum(layer)}},
	})
	manifest := marshal(map[string]any{
		"schemaVersion": 2,
		"mediaType":     "application/vnd.oci.image.manifest.v1+json",
		"config":        blob("application/vnd.oci.image.config.v1+json", config),
		"layers":        []any{blob("application/vnd.oci.image.layer.v1.tar", layer)},
	})
	top := blob("application/vnd.oci.image.manifest.v1+json", manifest)
	top["annotations"] = map[string]string{
		"io.containerd.image.name":          i.Ref,
		"org.opencontainers.image.ref.name": i.Ref[strings.LastIndex(i.Ref, ":")+1:],
	}
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, e := range []struct {
		name string
		body []byte
	}{
		{"oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`)},
		{"blobs/sha256/" + strings.TrimPrefix(sum(config), "sha256:"), config},
		{"blobs/sha256/" + strings.TrimPrefix(sum(layer), "sha256:"), layer},
		{"blobs/sha256/" + strings.TrimPrefix(sum(manifest), "sha256:"), manifest},
		{"index.json", marshal(map[string]any{"schemaVersion": 2, "manifests": []any{top}})},
	} {
		if err := add(w, &tar.Header{Name: e.name, Mode: 0o644}, e.body); err != nil {
			return "", err
		}
	}
	if err := w.Close(); err != nil {
		return "", err
	}
	return sum(manifest), os.WriteFile(file, out.Bytes(), 0o644)
}

// layer returns the layer as a tar archive: the folders of the files, /tmp, /etc/passwd, and the files.
func (i Image) layer() ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	files := append([]File{{
		To: "/etc/passwd", Mode: 0o644,
		Content: []byte("root:x:0:0:root:/:/none\nproxy:x:1500:1500:proxy:/:/none\nnonroot:x:65532:65532:nonroot:/:/none\n"),
	}}, i.Files...)
	for _, dir := range folders(files) {
		mode := int64(0o755)
		if dir == "tmp/" {
			mode = 0o1777
		}
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: mode, ModTime: epoch}); err != nil {
			return nil, err
		}
	}
	for _, f := range files {
		body := f.Content
		if f.From != "" {
			var err error
			if body, err = os.ReadFile(f.From); err != nil {
				return nil, err
			}
		}
		h := &tar.Header{Name: strings.TrimPrefix(f.To, "/"), Mode: f.Mode}
		if h.Mode == 0 {
			h.Mode = 0o755
		}
		if f.NetRaw {
			h.Format, h.PAXRecords = tar.FormatPAX, map[string]string{"SCHILY.xattr.security.capability": permitted}
		}
		if err := add(w, h, body); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

func folders(files []File) []string {
	all := []string{"tmp/"}
	for _, f := range files {
		for d := path.Dir(f.To); d != "/"; d = path.Dir(d) {
			if name := d[1:] + "/"; !slices.Contains(all, name) {
				all = append(all, name)
			}
		}
	}
	slices.Sort(all) // parents before children
	return all
}

func add(w *tar.Writer, h *tar.Header, body []byte) error {
	h.Typeflag, h.Size, h.ModTime = tar.TypeReg, int64(len(body)), epoch
	if err := w.WriteHeader(h); err != nil {
		return err
	}
	_, err := io.Copy(w, bytes.NewReader(body))
	return err
}

func blob(mediaType string, b []byte) map[string]any {
	return map[string]any{"mediaType": mediaType, "digest": sum(b), "size": len(b)}
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(s[:])
}

func marshal(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // not possible: maps of strings and numbers can be encoded
	}
	return b
}

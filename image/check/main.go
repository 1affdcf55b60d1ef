// Command check reads a container image from an archive: a tar with an OCI layout, as `buildah push ... oci-archive:FILE`
// and `docker save` write it. The image must have the expected user and entry point, the licenses, and a static binary
// for its processor. The binary must have the expected file capability, or none if none is expected. Otherwise the
// command fails.
//
//	check NAME FILE [EXTRACT]     also writes the binary to EXTRACT
package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"debug/elf"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
)

const (
	user      = "59469:59469"
	netRaw    = 1 << 13           // CAP_NET_RAW, linux/capability.h
	revision2 = uint32(0x2000000) // VFS_CAP_REVISION_2, with the effective flag clear
)

// A promise has the expected properties of an image.
type promise struct {
	entrypoint string
	cmd        []string
	netRaw     bool // the binary permits CAP_NET_RAW; if false, it has no capability
	most       int  // bounds the size of the binary, in bytes
}

var promises = map[string]promise{
	"meshtls-tap":         {"/tap", []string{"run"}, true, 12_000_000},
	"meshtls-tap-webhook": {"/tap-webhook", nil, false, 50_000_000},
}

var machines = map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}

// An archive maps the names of the files in a tar to their contents. An image of this product has a few megabytes.
type archive map[string][]byte

type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int64             `json:"size"`
	Annotations map[string]string `json:"annotations"`
}

type manifest struct {
	Manifests []descriptor `json:"manifests"` // set in an index; nil in a manifest
	Config    descriptor   `json:"config"`
	Layers    []descriptor `json:"layers"`
}

type config struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
	Config       struct {
		User       string
		Entrypoint []string
		Cmd        []string
		Labels     map[string]string
	} `json:"config"`
}

func main() {
	if len(os.Args) < 3 || len(os.Args) > 4 {
		fmt.Fprintln(os.Stderr, "usage: check NAME FILE [EXTRACT]")
		os.Exit(2)
	}
	extract := ""
	if len(os.Args) == 4 {
		extract = os.Args[3]
	}
	summary, err := check(os.Args[1], os.Args[2], extract)
	if err != nil {
		fmt.Fprintf(os.Stderr, "check: %s: %v\n", os.Args[2], err)
		os.Exit(1)
	}
	fmt.Println(summary)
}

func check(name, file, extract string) (string, error) {
	want, known := promises[name]
	if !known {
		return "", fmt.Errorf("no image is named %q", name)
	}
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	files, err := read(f)
	if err != nil {
		return "", err
	}
	image, err := files.image("index.json")
	if err != nil {
		return "", err
	}
	var conf config
	if err := files.json(image.Config.blob(), &conf); err != nil {
		return "", err
	}
	program, capability, total, err := files.entrypoint(image.Layers, want.entrypoint)
	if err != nil {
		return "", err
	}
	if err := errors.Join(want.checkConfig(conf), want.checkBinary(program, conf.Architecture), want.checkCapability(capability), checkLicenses(total.names)); err != nil {
		return "", err
	}
	if extract != "" {
		if err := os.WriteFile(extract, program, 0o755); err != nil {
			return "", err
		}
	}
	allowed := "no capability"
	if want.netRaw {
		allowed = "cap_net_raw+p"
	}
	return fmt.Sprintf("%s %s/%s: %d bytes packed, %d unpacked (%s: %d); user %s, %v %v, %s", name, conf.OS, conf.Architecture,
		total.packed, total.unpacked, want.entrypoint, len(program), conf.Config.User, conf.Config.Entrypoint, conf.Config.Cmd, allowed), nil
}

func (p promise) checkConfig(conf config) error {
	var errs []error
	if conf.Config.User != user {
		errs = append(errs, fmt.Errorf("user %q, want %q", conf.Config.User, user))
	}
	if !slices.Equal(conf.Config.Entrypoint, []string{p.entrypoint}) {
		errs = append(errs, fmt.Errorf("entry point %q, want %q", conf.Config.Entrypoint, p.entrypoint))
	}
	if !slices.Equal(conf.Config.Cmd, p.cmd) {
		errs = append(errs, fmt.Errorf("command %q, want %q", conf.Config.Cmd, p.cmd))
	}
	if conf.Config.Labels["org.opencontainers.image.version"] == "" {
		errs = append(errs, errors.New("no label org.opencontainers.image.version"))
	}
	return errors.Join(errs...)
}

func (p promise) checkBinary(content []byte, architecture string) error {
	program, err := elf.NewFile(bytes.NewReader(content))
	if err != nil {
		return fmt.Errorf("%s: %w", p.entrypoint, err)
	}
	if want := machines[architecture]; program.Machine != want {
		return fmt.Errorf("%s is built for %v, want %v", p.entrypoint, program.Machine, want)
	}
	if len(content) > p.most {
		return fmt.Errorf("%s has %d bytes, want at most %d", p.entrypoint, len(content), p.most)
	}
	for _, segment := range program.Progs {
		if segment.Type == elf.PT_INTERP {
			return fmt.Errorf("%s is not static: it asks for an interpreter", p.entrypoint)
		}
	}
	return nil
}

// checkCapability checks the extended attribute of the binary. If the image needs the capability, data must be a
// struct vfs_cap_data of revision 2 that permits only cap_net_raw, without the effective flag. Otherwise data must be
// empty.
func (p promise) checkCapability(data string) error {
	if !p.netRaw {
		if data != "" {
			return fmt.Errorf("%s: security.capability is %x, want none", p.entrypoint, data)
		}
		return nil
	}
	if len(data) != 20 {
		return fmt.Errorf("%s: security.capability has %d bytes, want 20: %q", p.entrypoint, len(data), data)
	}
	var words [5]uint32
	for i := range words {
		words[i] = binary.LittleEndian.Uint32([]byte(data[4*i:]))
	}
	if words != [5]uint32{revision2, netRaw, 0, 0, 0} {
		return fmt.Errorf("%s: security.capability is %x, want cap_net_raw+p", p.entrypoint, data)
	}
	return nil
}

// checkLicenses returns an error unless the product's license and those of its modules are among the files.
func checkLicenses(names []string) error {
	for _, name := range []string{"/LICENSE", "/NOTICES"} {
		if !slices.Contains(names, name) {
			return fmt.Errorf("no %s in the image", name)
		}
	}
	return nil
}

func read(r io.Reader) (archive, error) {
	files := archive{}
	for in := tar.NewReader(r); ; {
		header, err := in.Next()
		if errors.Is(err, io.EOF) {
			return files, nil
		}
		if err != nil {
			return nil, err
		}
		if header.Typeflag != tar.TypeReg {
			continue
		}
		if files[path.Clean(header.Name)], err = io.ReadAll(in); err != nil {
			return nil, err
		}
	}
}

func (a archive) json(name string, to any) error {
	content, ok := a[name]
	if !ok {
		return fmt.Errorf("no %s: not an OCI archive", name)
	}
	if err := json.Unmarshal(content, to); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// image returns the manifest in a file. If the file is an index, image returns the manifest of its first image that
// is not an attestation.
func (a archive) image(name string) (manifest, error) {
	var m manifest
	if err := a.json(name, &m); err != nil || m.Manifests == nil {
		return m, err
	}
	for _, d := range m.Manifests {
		if d.Annotations["vnd.docker.reference.type"] == "" {
			return a.image(d.blob())
		}
	}
	return m, fmt.Errorf("%s names no image", name)
}

func (d descriptor) blob() string {
	return "blobs/" + strings.Replace(d.Digest, ":", "/", 1)
}

// contents are the sizes of all layers in bytes, and the absolute paths of their files.
type contents struct {
	packed, unpacked int64
	names            []string
}

// entrypoint returns the content and the capability of the file that the image starts, and the sizes and file names
// of all layers.
func (a archive) entrypoint(layers []descriptor, entrypoint string) (content []byte, capability string, total contents, err error) {
	for _, d := range layers {
		total.packed += d.Size
		layer, err := unpack(a[d.blob()])
		if err != nil {
			return nil, "", total, fmt.Errorf("layer %s: %w", d.Digest, err)
		}
		for in := tar.NewReader(bytes.NewReader(layer)); ; {
			header, err := in.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return nil, "", total, fmt.Errorf("layer %s: %w", d.Digest, err)
			}
			total.unpacked += header.Size
			name := path.Clean("/" + header.Name)
			total.names = append(total.names, name)
			if name != entrypoint {
				continue
			}
			capability = header.PAXRecords["SCHILY.xattr.security.capability"]
			if content, err = io.ReadAll(in); err != nil {
				return nil, "", total, err
			}
		}
	}
	if content == nil {
		return nil, "", total, fmt.Errorf("no %s in the image", entrypoint)
	}
	return content, capability, total, nil
}

func unpack(layer []byte) ([]byte, error) {
	if !bytes.HasPrefix(layer, []byte{0x1f, 0x8b}) {
		return layer, nil
	}
	in, err := gzip.NewReader(bytes.NewReader(layer))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(in)
}

package pcapfile

import (
	"bytes"
	"errors"
)

// foreignFormats are formats that captures come in and that the reader does not read: the first bytes of a file, and what to do with it.
// The signatures are those of the XZ and 7z format descriptions, bzip2's and compress's manual pages, RFC 1761
// (snoop) and Microsoft's Network Monitor.
var foreignFormats = []struct{ signature, advice string }{
	{"\xfd7zXZ\x00", "compressed by xz: decompress it first (xz -d); gzip, zstd and lz4 are decompressed here"},
	{"BZh", "compressed by bzip2: decompress it first (bzip2 -d); gzip, zstd and lz4 are decompressed here"},
	{"\x1f\x9d", "compressed by compress: decompress it first (uncompress); gzip, zstd and lz4 are decompressed here"},
	{"PK\x03\x04", "a zip archive: extract the capture first"},
	{"7z\xbc\xaf\x27\x1c", "a 7z archive: extract the capture first"},
	{"snoop\x00\x00\x00", "a snoop capture: convert it first, with Wireshark's editcap IN OUT.pcapng"},
	{"GMBU", "a capture of Microsoft's Network Monitor: convert it first, with Wireshark's editcap IN OUT.pcapng"},
	{"RTSS", "a capture of Microsoft's Network Monitor: convert it first, with Wireshark's editcap IN OUT.pcapng"},
}

// foreignBytes is the length of the longest signature in foreignFormats.
const foreignBytes = 8

// foreign returns an error with advice if a file starts like one of foreignFormats, and nil otherwise.
func foreign(head []byte) error {
	for _, f := range foreignFormats {
		if bytes.HasPrefix(head, []byte(f.signature)) {
			return errors.New(f.advice)
		}
	}
	return nil
}

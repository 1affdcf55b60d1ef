package protocols

// Recognizers of file and block storage: SMB, NBD and Git.

// smbMessage recognizes a message of SMB 1, 2 or 3 after its length (MS-SMB2 section 2.1, RFC 1002 section 4.3.1). smbSealed only
// recognizes messages that SMB 3 encrypts (section 2.2.41).
func smbMessage(b []byte) Match { return smb(b, "\xffSMB", "\xfeSMB", "\xfcSMB", "\xfdSMB") }
func smbSealed(b []byte) Match  { return smb(b, "\xfdSMB") }

// smb recognizes a message that begins with one of several protocol identifiers, after its length.
func smb(b []byte, magic ...string) Match {
	if b[0] != 0 {
		return No
	}
	if len(b) < 5 {
		return More
	}
	if size := int(b[1])<<16 | int(b[2])<<8 | int(b[3]); size < 32 {
		return No
	}
	return anyOf(magic...)(b[4:])
}

// nbdServer recognizes the greeting of an NBD server, an option's reply or a transmission's reply (nbd/doc/proto.md).
func nbdServer(b []byte) Match {
	if a := anyOf("NBDMAGIC", "\x00\x03\xe8\x89\x04\x55\x65\xa9")(b); a != No {
		return a
	}
	if a := anyOf("\x67\x44\x66\x98\x00\x00\x00", "\x66\x8e\x33\xef\x00")(b); a != Yes {
		return a
	}
	if len(b) < 16 || b[0] == 0x66 && b[5] > 1 {
		return No
	}
	return Yes
}

// nbdClient recognizes options and requests of an NBD client. Its flags, which come first, only give Maybe.
func nbdClient(b []byte) Match {
	switch b[0] {
	case 0:
		if len(b) >= 4 && b[1] == 0 && b[2] == 0 && b[3] <= 3 && (len(b) == 4 || prefix(b[4:], "IHAVEOPT") != No) {
			return Maybe
		}
		return begins(prefix(b, "\x00\x00\x00"))
	case 'I':
		return prefix(b, "IHAVEOPT")
	}
	if a := prefix(b, "\x25\x60\x95\x13\x00"); a != Yes {
		return a
	}
	if len(b) < 28 {
		return More
	}
	if b[5] > 0x1f || b[6] != 0 || b[7] > 7 {
		return No
	}
	return Yes
}

// gitRequest recognizes a request of Git's own transport, which does not encrypt.
func gitRequest(b []byte) Match {
	for _, c := range b[:min(len(b), 4)] {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return No
		}
	}
	if len(b) < 4 {
		return More
	}
	if len(b) == 4 {
		return More
	}
	return anyOf("git-upload-pack /", "git-receive-pack /", "git-upload-archive /")(b[4:])
}

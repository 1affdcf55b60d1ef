package protocols

import "testing"

// FuzzSealed checks that the kind of a message can be determined for any bytes, and that its size fits in a length of four bytes.
func FuzzSealed(f *testing.F) {
	sealing := []string{"smb", "dcerpc", "oncrpc", "rdp", "ldap", "postgresql", "tns", "rfb", "telnet", "smtp"}
	for i, s := range []string{
		"\x00\x00\x00\x40\xfdSMB0123456789abcdef0123456789abcdef",
		"\x05\x00\x00\x03\x10\x00\x00\x00\x40\x00\x10\x00\x01\x00\x00\x00\x00\x00\x00\x00",
		"\x80\x00\x00\x28\x12\x34\x56\x78\x00\x00\x00\x00\x00\x00\x00\x02\x00\x01\x86\xa3\x00\x00\x00\x04\x00\x00\x00\x01\x00\x00\x00\x06",
		"\x02\x0c\x0c\x00\x00\x00\x00\x00\x00\x00\x00\x00",
		"0\x0c\x02\x01\x01`\x07\x02\x01\x03\x04\x00\x80\x00",
		"Q\x00\x00\x00\x10SELECT 1;\x00",
		"\x00\x4c\x00\x00\x06\x00\x00\x00\x00\x00\xde\xad\xbe\xef",
	} {
		f.Add([]byte(s), uint8(i))
	}
	f.Fuzz(func(t *testing.T, b []byte, which uint8) {
		protocol := sealing[int(which)%len(sealing)]
		if len(b) == 0 {
			return
		}
		IsSealed(protocol, b)
		for _, framed := range []bool{false, true} {
			if size, _ := MessageOf(protocol, b, framed); size < 0 || size > 4+1<<32 {
				t.Errorf("%s: a message of %d bytes", protocol, size)
			}
		}
	})
}

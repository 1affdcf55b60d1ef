package capturetest

import "encoding/binary"

// SSHBanner is an SSH identification string (RFC 4253, section 4.2).
const SSHBanner = "SSH-2.0-example\r\n"

// SSHKexInit returns an SSH_MSG_KEXINIT in a binary packet (RFC 4253, sections 6 and 7.1).
func SSHKexInit() []byte {
	payload := append([]byte{20}, "0123456789abcdef"...)
	for _, list := range []string{
		"curve25519-sha256,ecdh-sha2-nistp256", "ssh-ed25519,rsa-sha2-256", "aes128-gcm@openssh.com,aes256-ctr", "aes128-gcm@openssh.com,aes256-ctr",
		"hmac-sha2-256", "hmac-sha2-256", "none,zlib@openssh.com", "none", "", "",
	} {
		payload = append(binary.BigEndian.AppendUint32(payload, uint32(len(list))), list...)
	}
	payload = append(payload, 0, 0, 0, 0, 0)
	pad := 8 - (5+len(payload))%8
	if pad < 4 {
		pad += 8
	}
	b := binary.BigEndian.AppendUint32(nil, uint32(1+len(payload)+pad))
	b = append(append(b, byte(pad)), payload...)
	return append(b, make([]byte, pad)...)
}

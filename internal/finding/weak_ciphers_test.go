package finding

import "testing"

// TestWeaknessOf: weak suites are recognized by their registered names, and others are not.
func TestWeaknessOf(t *testing.T) {
	for _, weak := range []string{
		"TLS_RSA_EXPORT_WITH_RC4_40_MD5", "TLS_DH_anon_WITH_AES_128_CBC_SHA", "TLS_ECDH_anon_WITH_AES_256_CBC_SHA", "TLS_RSA_WITH_RC4_128_SHA",
		"TLS_RSA_WITH_DES_CBC_SHA", "TLS_RSA_WITH_3DES_EDE_CBC_SHA", "TLS_RSA_WITH_IDEA_CBC_SHA", "TLS_KRB5_EXPORT_WITH_RC2_CBC_40_SHA",
	} {
		if weaknessOf(weak) == "" {
			t.Errorf("%s is not weak", weak)
		}
	}
	for _, strong := range []string{
		"", "0x0072", "TLS_AES_128_GCM_SHA256", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "TLS_RSA_WITH_AES_128_CBC_SHA", "TLS_CHACHA20_POLY1305_SHA256",
		"TLS_ECDHE_RSA_WITH_CAMELLIA_128_CBC_SHA256", "TLS_SM4_GCM_SM3", "TLS_AEGIS_256_SHA512", "TLS_GOSTR341112_256_WITH_KUZNYECHIK_MGM_L",
	} {
		if why := weaknessOf(strong); why != "" {
			t.Errorf("%s is weak: %s", strong, why)
		}
	}
}

package sink

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"
)

// describeToken returns the issuer, audience, subject and expiry of a JSON Web Token
// (RFC 7519). It does not verify the token, and does not return its signature.
func describeToken(file string) string {
	text, _ := os.ReadFile(file)
	parts := strings.Split(strings.TrimSpace(string(text)), ".")
	var claims struct {
		Issuer   string  `json:"iss"`
		Subject  string  `json:"sub"`
		Audience any     `json:"aud"`
		Expires  float64 `json:"exp"`
	}
	if len(parts) != 3 {
		return "not a JSON Web Token"
	}

	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(payload, &claims) != nil {
		return "not a JSON Web Token"
	}

	expires := time.Unix(int64(claims.Expires), 0)
	state := "valid until"
	if time.Now().After(expires) {
		state = "expired at"
	}
	return fmt.Sprintf("issuer %q, audience %q, subject %q, %s %s", claims.Issuer, claims.Audience, claims.Subject, state, expires.UTC().Format(time.RFC3339))
}

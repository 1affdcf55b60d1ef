{{/* Parsing of numbers, ports and addresses as in Go (net/netip, strconv). Each helper returns "" for invalid texts. */}}

{{/* tap.decimal: decimal digits without leading zeros. With leading zeros int64 would parse them as octal. */}}
{{- define "tap.decimal" -}}
{{- regexReplaceAll "^0+([0-9])" . "${1}" }}
{{- end }}

{{/* tap.isPort: "true" for 1 to 65535. */}}
{{- define "tap.isPort" -}}
{{- $n := include "tap.decimal" . }}
{{- if and (regexMatch "^[1-9][0-9]{0,4}$" $n) (le (int64 $n) 65535) }}true{{ end }}
{{- end }}

{{/* tap.bits: an address as 32 or 128 binary digits. */}}
{{- define "tap.bits" -}}
{{- $octet := "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])" }}
{{- $dotted := printf "%s([.]%s){3}" $octet $octet }}
{{- if regexMatch (printf "^%s$" $dotted) . }}
{{- range splitList "." . }}{{ printf "%08b" (int64 .) }}{{ end }}
{{- else if and (contains ":" .) (not (contains ":::" .)) (le (len (splitList "::" .)) 2) }}
{{- $text := . }}{{ $ok := true }}
{{- with regexFind (printf ":%s$" $dotted) . }}
{{- $o := splitList "." (trimPrefix ":" .) }}
{{- $text = printf "%s:%02x%02x:%02x%02x" (trimSuffix . $text) (int64 (index $o 0)) (int64 (index $o 1)) (int64 (index $o 2)) (int64 (index $o 3)) }}
{{- end }}
{{- $parts := splitList "::" $text }}
{{- $groups := list }}
{{- range $i, $part := $parts }}
{{- $these := list }}
{{- if $part }}{{ $these = splitList ":" $part }}{{ end }}
{{- if $i }}
{{- $missing := sub 8 (add (len $groups) (len $these)) | int }}
{{- if lt $missing 1 }}{{ $ok = false }}{{ else }}{{ range until $missing }}{{ $groups = append $groups "0" }}{{ end }}{{ end }}
{{- end }}
{{- $groups = concat $groups $these }}
{{- end }}
{{- $hex := "" }}
{{- range $groups }}
{{- if not (regexMatch "^[0-9a-fA-F]{1,4}$" .) }}{{ $ok = false }}{{ end }}
{{- $hex = printf "%s%s%s" $hex (trunc (max 0 (sub 4 (len .)) | int) "0000") (lower .) }}
{{- end }}
{{- if and $ok (eq (len $groups) 8) }}
{{- $digits := dict "0" "0000" "1" "0001" "2" "0010" "3" "0011" "4" "0100" "5" "0101" "6" "0110" "7" "0111" "8" "1000" "9" "1001" "a" "1010" "b" "1011" "c" "1100" "d" "1101" "e" "1110" "f" "1111" }}
{{- range splitList "" $hex }}{{ get $digits . }}{{ end }}
{{- end }}
{{- end }}
{{- end }}

{{/* tap.prefix: "network" for an address, or for a CIDR without address bits after the prefix length; "host" for a CIDR with such bits. */}}
{{- define "tap.prefix" -}}
{{- $parts := splitList "/" . }}
{{- $bits := include "tap.bits" (index $parts 0) }}
{{- if and $bits (eq (len $parts) 1) }}network
{{- else if and $bits (eq (len $parts) 2) }}
{{- $length := index $parts 1 }}
{{- if and (regexMatch "^(0|[1-9][0-9]{0,2})$" $length) (le (int64 $length) (len $bits | int64)) }}
{{- regexMatch "^0*$" (substr (int $length) (len $bits) $bits) | ternary "network" "host" }}
{{- end }}
{{- end }}
{{- end }}

{{/* tap.checkMute MUTE fails unless the tap accepts an item of tap.mute (finding.ParseMutes). The schema checks the rest. */}}
{{- define "tap.checkMute" -}}
{{- $where := printf "tap.mute: the mute of %s: " .rule }}
{{- if ne (toDate "2006-01-02" .until | date "2006-01-02") .until }}{{ fail (printf "%suntil %s: expected a date such as 2026-12-31" $where .until) }}{{ end }}
{{- if or (gt (len .reason) 200) (not (regexMatch "^ *[^;\\p{C}\\p{Z}]([^;\\p{C}\\p{Z}]| )*$" .reason)) }}{{ fail (printf "%sreason: expected printable text of 200 bytes at most, without a semicolon" $where) }}{{ end }}
{{- if and (eq .rule "tap-blind") (or .peers .ports .classes) }}{{ fail (printf "%sexpected no peers, ports or classes: its findings are about a tap" $where) }}{{ end }}
{{- range .peers }}
{{- $name := regexMatch "^(spiffe://[a-zA-Z0-9._/-]+|[a-zA-Z0-9._-]+)$" . }}
{{- if and (not (and $name (not (regexMatch "^[0-9.]+$" .)))) (ne (include "tap.prefix" .) "network") }}{{ fail (printf "%speers: %s: expected an address, a CIDR such as 10.0.0.0/8, a host name or a SPIFFE ID" $where .) }}{{ end }}
{{- end }}
{{- end }}

{{/* tap.checkExpect (list WHERE ITEM) fails unless ITEM is CIDR[:PORT]=mtls|tls|any, as inject.checkExpect does. */}}
{{- define "tap.checkExpect" -}}
{{- $where := index . 0 }}{{ $item := trim (index . 1) }}
{{- $place := trim (regexReplaceAll "=.*$" $item "") }}
{{- $want := trim (regexFind "=.*$" $item | trimPrefix "=") }}
{{- $cidr := $place }}{{ $port := "1" }}
{{- if hasPrefix "[" $place }}
{{- $cidr = regexFind "^\\[[^]]*\\]" $place | trimPrefix "[" | trimSuffix "]" }}
{{- $rest := regexReplaceAll "^\\[[^]]*\\]" $place "" }}
{{- if $rest }}{{ $port = hasPrefix ":" $rest | ternary (trimPrefix ":" $rest) "none" }}{{ end }}
{{- else if eq (len (splitList ":" $place)) 2 }}
{{- $cidr = index (splitList ":" $place) 0 }}{{ $port = index (splitList ":" $place) 1 }}
{{- end }}
{{- $form := "expected CIDR[:PORT]=mtls|tls|any, an IPv6 CIDR in brackets when a port follows" }}
{{- if not (has $want (list "mtls" "tls" "any")) }}{{ fail (printf "%s: %s: %s" $where $item $form) }}{{ end }}
{{- if not (include "tap.isPort" $port) }}{{ fail (printf "%s: %s: a port is from 1 to 65535; %s" $where $item $form) }}{{ end }}
{{- $kind := include "tap.prefix" $cidr }}
{{- if eq $kind "host" }}{{ fail (printf "%s: %s: %s has address bits after the prefix length" $where $item $cidr) }}{{ end }}
{{- if ne $kind "network" }}{{ fail (printf "%s: %s: %s is not a CIDR; %s" $where $item $cidr $form) }}{{ end }}
{{- end }}

{{/*
tap.checkFilter (list WHERE EXPRESSION) fails for an expression of pcap-filter(7) that internal/pcapfilter does not accept. It splits the text
into tokens, writes each as a letter for its kind, and replaces complete sub-expressions by one token until a single condition is left. It does
not find errors that only the compiler can find, such as an offset after the end of every packet. filter_test.go compares the two.

Tokens: n0 0; n1 1, 2, 4; n2 to 31; n3 32; n4 to 128; n5 to 255; n6 to 1535; n7 to 4095; n8 to 65535; n9 to 32 bits; a2 a3 a4 parts of an
IPv4 address, c with a mask; a6 IPv6, d with a length; x y a list of both families, of addresses or networks; m Ethernet address; r range of ports; q, t names after proto and ether proto.
Conditions: P and what a bare subject after it means (p port, r portrange, h host, e ether host, n net, o proto, t ether proto, x nothing);
G a group; E a value.
*/}}
{{- define "tap.checkFilter" -}}
{{- $where := index . 0 }}{{ $text := index . 1 }}
{{- $form := "expected an expression of pcap-filter(7) without names of hosts or services, such as `tcp port 80 or 443`" }}
{{- if gt (len $text) 2048 }}{{ fail (printf "%s: %d characters: expected at most 2048" $where (len $text)) }}{{ end }}
{{- if regexMatch "^[0-9][0-9\\s,]*$" $text }}
{{- $numbers := regexFindAll "[0-9]+" $text -1 }}
{{- if ne (len $numbers) (add1 (mul 4 (include "tap.decimal" (first $numbers) | int64)) | int) }}{{ fail (printf "%s: %s: %s" $where $text $form) }}{{ end }}
{{- else if ne (include "tap.filterReduced" (include "tap.filterTokens" $text)) "condition" }}
{{- fail (printf "%s: %s: %s" $where $text $form) }}
{{- end }}
{{- end }}

{{/* tap.filterNumber: the kind of a number; "" if it does not fit in 32 bits. */}}
{{- define "tap.filterNumber" -}}
{{- $value := 0 }}{{ $ok := true }}
{{- $hex := dict "a" 10 "b" 11 "c" 12 "d" 13 "e" 14 "f" 15 }}
{{- $base := 10 }}{{ $digits := . }}
{{- if regexMatch "^0[xX]." . }}{{ $base = 16 }}{{ $digits = lower (substr 2 (len .) .) }}
{{- else if regexMatch "^0." . }}{{ $base = 8 }}{{ if regexMatch "[89]" . }}{{ $ok = false }}{{ end }}
{{- end }}
{{- $digits = regexReplaceAll "^0+(.)" $digits "${1}" }}
{{- if gt (len $digits) 12 }}{{ $ok = false }}{{ else }}
{{- range splitList "" $digits }}{{ $value = add (mul $value $base) (hasKey $hex . | ternary (get $hex .) (atoi . | int)) }}{{ end }}
{{- end }}
{{- if or (not $ok) (gt $value 4294967295) }}
{{- else if eq $value 0 }}n0
{{- else if or (eq $value 1) (eq $value 2) (eq $value 4) }}n1
{{- else if le $value 31 }}n2
{{- else if eq $value 32 }}n3
{{- else if le $value 128 }}n4
{{- else if le $value 255 }}n5
{{- else if le $value 1535 }}n6
{{- else if le $value 4095 }}n7
{{- else if le $value 65535 }}n8
{{- else }}n9
{{- end }}
{{- end }}

{{/* tap.filterWord: the token for a word. */}}
{{- define "tap.filterWord" -}}
{{- $octet := "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])" }}
{{- $named := list "icmptype" "icmpcode" "icmp-echoreply" "icmp-unreach" "icmp-sourcequench" "icmp-redirect" "icmp-echo" "icmp-routeradvert" "icmp-routersolicit" "icmp-timxceed" "icmp-paramprob" "icmp-tstamp" "icmp-tstampreply" "icmp-ireq" "icmp-ireqreply" "icmp-maskreq" "icmp-maskreply" "icmp6type" "icmp6code" "icmp6-destinationunreach" "icmp6-packettoobig" "icmp6-timeexceeded" "icmp6-parameterproblem" "icmp6-echo" "icmp6-echoreply" "icmp6-multicastlistenerquery" "icmp6-multicastlistenerreportv1" "icmp6-multicastlistenerdone" "icmp6-routersolicit" "icmp6-routeradvert" "icmp6-neighborsolicit" "icmp6-neighboradvert" "icmp6-redirect" "icmp6-routerrenum" "icmp6-nodeinformationquery" "icmp6-nodeinformationresponse" "icmp6-ineighbordiscoverysolicit" "icmp6-ineighbordiscoveryadvert" "icmp6-multicastlistenerreportv2" "icmp6-homeagentdiscoveryrequest" "icmp6-homeagentdiscoveryreply" "icmp6-mobileprefixsolicit" "icmp6-mobileprefixadvert" "icmp6-certpathsolicit" "icmp6-certpathadvert" "icmp6-multicastrouteradvert" "icmp6-multicastroutersolicit" "icmp6-multicastrouterterm" "tcpflags" "tcp-fin" "tcp-syn" "tcp-rst" "tcp-push" "tcp-ack" "tcp-urg" "tcp-ece" "tcp-cwr" }}
{{- $numbered := list "icmp" "igmp" "ipencap" "tcp" "egp" "igp" "udp" "dccp" "ipv6" "ipv6-route" "ipv6-frag" "rsvp" "gre" "esp" "ah" "ipv6-icmp" "ipv6-nonxt" "ipv6-opts" "eigrp" "ospf" "pim" "vrrp" "l2tp" "sctp" "udplite" }}
{{- $words := list "and" "or" "not" "len" "src" "dst" "host" "net" "mask" "port" "portrange" "proto" "less" "greater" "broadcast" "multicast" "inbound" "outbound" "vlan" "ether" "ip" "ip6" "arp" "rarp" "tcp" "udp" "sctp" "icmp" "icmp6" "igmp" "pim" "vrrp" "ah" "esp" }}
{{- $byte := "[0-9a-fA-F]{1,2}" }}
{{- if hasPrefix "\\" . }}
{{- $name := substr 1 (len .) . }}
{{- if has $name $numbered }}q{{ else if has $name (list "ip" "ip6" "arp" "rarp") }}t{{ else }}?{{ end }}
{{- else if contains ":" . }}
{{- if regexMatch (printf "^%s(:%s){5}$" $byte $byte) . }}m{{ else if include "tap.bits" . }}a6{{ else }}?{{ end }}
{{- else if or (regexMatch (printf "^(%s([.]%s){5}|%s(-%s){5})$" $byte $byte $byte $byte) .) (regexMatch "^([0-9a-fA-F]{12}|[0-9a-fA-F]{4}[.][0-9a-fA-F]{4}[.][0-9a-fA-F]{4})$" .) }}m
{{- else if has . $named }}n1
{{- else if regexMatch "^(0[xX][0-9a-fA-F]+|[0-9]+)$" . }}{{ include "tap.filterNumber" . | default "?" }}
{{- else if regexMatch (printf "^%s([.]%s){1,3}$" $octet $octet) . }}a{{ len (splitList "." .) }}
{{- else if has . $words }}{{ . }}
{{- else if regexMatch "^[0-9]+-[0-9]+$" . }}
{{- range splitList "-" . }}{{ if gt (len (include "tap.decimal" .)) 5 }}?{{ else if gt (include "tap.decimal" . | int64) 65535 }}?{{ end }}{{ end }}r
{{- else if has . $numbered }}q
{{- else }}?
{{- end }}
{{- end }}

{{/* tap.filterTokens: the tokens, each between spaces, and a dot at the end. An invalid text is the token "?". */}}
{{- define "tap.filterTokens" -}}
{{- $lexer := "\\\\[^ !()\\n\\t]+|[0-9a-fA-F.]*:[0-9a-fA-F.]*:[0-9a-fA-F:.]*|[0-9A-Za-z](?:[-0-9A-Za-z_.]*[0-9A-Za-z.])?|&&|\\|\\||!=|==|<=|>=|<<|>>|[][()+*/%&|^<>=!:-]" }}
{{- $same := dict "&&" "and" "||" "or" "!" "not" "==" "=" "length" "len" "link" "ether" }}
{{- $before := list "" "" }}
{{- if regexReplaceAll $lexer . "" | trim }} ?{{ end }}
{{- range regexFindAll $lexer . -1 }}
{{- $word := get $same . | default . }}
{{- $token := regexMatch "^([0-9A-Za-z\\\\]|.*:.*:)" $word | ternary (include "tap.filterWord" $word) $word }}
{{- /* address bits after the prefix length are an error */}}
{{- if and (eq (index $before 1) "/") (regexMatch "^n[0-4]$" $token) (regexMatch "^[0-9a-fA-F:.]+[.:][0-9a-fA-F:.]*$" (index $before 0)) }}
{{- $address := index $before 0 }}
{{- if not (contains ":" $address) }}{{ range until (sub 4 (len (splitList "." $address)) | int) }}{{ $address = printf "%s.0" $address }}{{ end }}{{ end }}
{{- if and (include "tap.bits" $address) (regexMatch "^(0|[1-9][0-9]*)$" .) (ne (include "tap.prefix" (printf "%s/%s" $address .)) "network") }}{{ $token = "?" }}{{ end }}
{{- end }}
{{- if and (eq (index $before 1) "mask") (regexMatch "^a[234]$" $token) }}
{{- $both := list }}
{{- range list (index $before 0) . }}
{{- $address := . }}{{ range until (max 0 (sub 4 (len (splitList "." .))) | int) }}{{ $address = printf "%s.0" $address }}{{ end }}
{{- $both = append $both (include "tap.bits" $address) }}
{{- end }}
{{- if eq (len (index $both 0)) 32 }}
{{- range $i := until 32 }}{{ if and (eq (substr $i (add1 $i | int) (index $both 0)) "1") (eq (substr $i (add1 $i | int) (index $both 1)) "0") }}{{ $token = "?" }}{{ end }}{{ end }}
{{- end }}
{{- end }}
{{- $before = list (index $before 1) . }} {{ $token }}
{{- end }} . {{ "" }}
{{- end }}

{{/* tap.filterReduced TOKENS: "condition" if the tokens are one condition, otherwise the tokens that could not be reduced. */}}
{{- define "tap.filterReduced" -}}
{{- $not := "(?:not )*" }}
{{- $one := "(?:src(?: (?:or|and) dst)?|dst(?: (?:or|and) src)?)" }}{{/* a direction */}}
{{- $any := printf "(?:%s )?" $one }}
{{- $host := printf "(?:%s host|host|%s)" $one $one }}
{{- $ports := "(?:(?:tcp|udp|sctp) )?" }}
{{- $names := "(?:n[0-5]|q|icmp|igmp|tcp|udp|esp|ah|pim|vrrp|sctp)" }}
{{- $value := "(?:E|n[0-9])" }}
{{- $rules := list
  (list
    " a[234] / n[0-3] " " c "
    " a[234] mask a[234] " " c "
    " a6 / n[0-4] " " d "
    (printf " proto %s\\( %s%s(?: (?:and|or) %s%s)* \\) " $not $not $names $not $names) " proto q "
    (printf " ether proto %s\\( %s(?:n[78]|t|ip|ip6|arp|rarp)(?: (?:and|or) %s(?:n[78]|t|ip|ip6|arp|rarp))* \\) " $not $not $not) " ether proto t "
    (printf " \\( %s(n[0-5])(?: (?:and|or) %sn[0-5])* \\) " $not $not) " ${1} "
    (printf " \\( %sn[0-8](?: (?:and|or) %sn[0-8])* \\) " $not $not) " n8 "
    (printf " \\( %sa4(?: (?:and|or) %sa4)* \\) " $not $not) " a4 "
    (printf " \\( %sa6(?: (?:and|or) %sa6)* \\) " $not $not) " a6 "
    (printf " \\( %sm(?: (?:and|or) %sm)* \\) " $not $not) " m "
    (printf " \\( %s(?:r|n[0-8])(?: (?:and|or) %s(?:r|n[0-8]))* \\) " $not $not) " r "
    (printf " \\( %s(?:a[234]|c|n[1-5])(?: (?:and|or) %s(?:a[234]|c|n[1-5]))* \\) " $not $not) " c "
    (printf " \\( %s(?:a6|d)(?: (?:and|or) %s(?:a6|d))* \\) " $not $not) " d "
    (printf " \\( %s(?:a4|a6|x)(?: (?:and|or) %s(?:a4|a6|x))* \\) " $not $not) " x "
    (printf " \\( %s(?:a[2346]|c|d|x|y|n[1-5])(?: (?:and|or) %s(?:a[2346]|c|d|x|y|n[1-5]))* \\) " $not $not) " y ")
  (list
    (printf " %s%sport %sn[0-8] " $ports $any $not) " Pp "
    (printf " %s%sportrange %s(?:r|n[0-8]) " $ports $any $not) " Pr "
    (printf " (?:(?:ip|arp|rarp) )?%s %sa4 " $host $not) " Ph "
    (printf " (?:ip6 )?%s %sa6 " $host $not) " Ph "
    (printf " %s %sx " $host $not) " Ph "
    (printf " ether %s %sm " $host $not) " Pe "
    (printf " (?:(?:ip|arp|rarp) )?%snet %s(?:a[234]|c|n[1-5]) " $any $not) " Pn "
    (printf " (?:ip6 )?%snet %s(?:a6|d) " $any $not) " Pn "
    (printf " %snet %s[xy] " $any $not) " Pn "
    (printf " ether proto %s(?:n[78]|t|ip|ip6|arp|rarp) " $not) " Pt "
    (printf " (?:(?:ip|ip6) )?proto %s%s " $not $names) " Po "
    " (?:less|greater) n[0-9] " " Px "
    " vlan n[0-7] " " Px ")
  (list
    " len " " E "
    (printf " (?:ether|ip|ip6|arp|rarp|tcp|udp|sctp|icmp|icmp6|igmp|pim|vrrp) \\[ %s(?: : n1)? \\] " $value) " E "
    " \\( E \\) " " E "
    " \\( (n[0-9]) \\) " " ${1} "
    (printf " (\\(|\\[|and|or|not|=|!=|<|<=|>|>=|[-+*/%%&|^]|<<|>>) - %s " $value) " ${1} E "
    (printf "^ - %s " $value) " E "
    (printf " %s (?:[/%%] (?:E|n[1-9])|[-+*&|^] %s|(?:<<|>>) (?:E|n[0-2])) " $value $value) " E ")
  (list
    (printf " %s (?:=|!=|<|<=|>|>=) %s " $value $value) " Px ")
  (list
    " (?:ether )?broadcast " " Px "
    " (?:(?:ether|ip|ip6) )?multicast " " Px "
    " (?:tcp|udp|sctp|icmp|icmp6|igmp|pim|vrrp|ah|esp|ip|ip6|arp|rarp|inbound|outbound|vlan) (and|or|\\)|[.]) " " Px ${1} ")
  (list
    " (P[pr]) ((?:and|or) (?:not |\\( )*)(?:n[0-8]) " " ${1} ${2}${1} "
    " (Pr) ((?:and|or) (?:not |\\( )*)r " " ${1} ${2}${1} "
    " (Ph) ((?:and|or) (?:not |\\( )*)(?:a4|a6|x) " " ${1} ${2}${1} "
    " (Pe) ((?:and|or) (?:not |\\( )*)m " " ${1} ${2}${1} "
    " (Pn) ((?:and|or) (?:not |\\( )*)(?:a[2346]|c|d|x|y|n[1-5]) " " ${1} ${2}${1} "
    " (Po) ((?:and|or) (?:not |\\( )*)(?:n[0-5]|q) " " ${1} ${2}${1} "
    " (Pt) ((?:and|or) (?:not |\\( )*)(?:n[78]|t) " " ${1} ${2}${1} "
    " not (P.|G) " " ${1} "
    " (P.) (?:and|or) G " " ${1} "
    " G (?:and|or) (P.|G) (and|or|\\)|[.]) " " ${1} ${2} "
    " P. (?:and|or) (P.) " " ${1} "
    " \\( (?:P.|G) \\) " " G ") }}
{{- $text := . }}
{{- range $rules }}
{{- $pairs := . }}{{ $done := false }}
{{- range until 110 }}
{{- if not $done }}
{{- $last := $text }}
{{- range $i, $rule := $pairs }}{{ if eq (mod $i 2) 0 }}{{ $text = regexReplaceAll $rule $text (index $pairs (add1 $i | int)) }}{{ end }}{{ end }}
{{- $done = eq $last $text }}
{{- end }}
{{- end }}
{{- end }}
{{- regexMatch "^ (P.|G) [.] $" $text | ternary "condition" $text }}
{{- end }}

# The walk-through, which run.sh starts in namespaces of its own: two pairs of pods, a tap in each pod, two requests.
set -euo pipefail
umask 022 # other users run programs from here
# shellcheck source=demo/pods.sh
. "$DEMO/pods.sh"
# shellcheck source=demo/mesh.sh
. "$DEMO/mesh.sh"

pods=(unencrypted-curl unencrypted-httpbin encrypted-curl encrypted-httpbin)
declare -A address=(
	[unencrypted-curl]=10.77.1.2 [unencrypted-httpbin]=10.77.1.3
	[encrypted-curl]=10.77.2.2 [encrypted-httpbin]=10.77.2.3
)

# step NAME TEXT prints a line of progress.
step() { printf '%-9s %s\n' "$1" "$2"; }

# broker starts a real Kafka broker in a pod of its own and creates the topics.
broker() {
	mkdir "$work/kafka"
	echo "$BROKER_PORT 19093 19094" >"$work/kafka/ports"
	within kafka env ADDRESS="$BROKER" "$DEMO/../test/kafka/kafka.sh" start "$work/kafka"
	within kafka "$DEMO/../test/kafka/kafka.sh" topics "$work/kafka"
	: >"$work/kafka/ready"
}

# consume TOPIC prints the records of a topic, with another client than the tap's.
consume() { kcat -C -q -b "$BROKER:$BROKER_PORT" -t "meshtls-tap.$1" -o beginning -e; }

# tap POD starts the tap in a pod as in its container: with a user of its own and NET_RAW only.
tap() {
	local user=() sink=(TAP_SINK=stdout)
	[ "$AS" != root ] || user=(--reuid=59469 --regid=59469 --clear-groups)
	[ -z "$KAFKA" ] || sink=(TAP_SINK=kafka TAP_KAFKA_BROKERS="$BROKER:$BROKER_PORT")
	nsenter --net=/run/netns/"$1" setpriv "${user[@]}" --no-new-privs --bounding-set=-all,+net_raw --inh-caps=-all,+net_raw --ambient-caps=-all,+net_raw \
		env -i "${sink[@]}" TAP_INTERFACES=eth0,lo TAP_EMIT=findings,posture,flows TAP_LISTEN=:9469 \
		POD_NAMESPACE="${1%-*}" POD_NAME="${1#*-}" POD_UID="$1" POD_IPS="${address[$1]}" HOST_IPS="$NODE" \
		"$work/tap" run >"$OUT/tap-$1.jsonl" 2>"$OUT/tap-$1.log" </dev/null &
	taps+=($!)
}

ready() { [[ $(within "$1" curl -q -s -m 1 --noproxy '*' http://127.0.0.1:9469/readyz) == ok* ]]; }

# dump POD INTERFACE starts tcpdump, for tap read. It excludes the taps' own connections to the broker, which cannot be
# recognized in a capture.
dump() {
	start "$OUT/tcpdump-$1.$2.log" "$1" tcpdump -Z root --immediate-mode -U -n -s 0 -i "$2" -w "$OUT/$1.$2.pcap" "not host $BROKER"
	dumps+=($!)
	until_true 10 "tcpdump, see $OUT/tcpdump-$1.$2.log" grep -q listening "$OUT/tcpdump-$1.$2.log"
}

# request NAMESPACE sends curl's request and stores the time.
request() {
	local url=http://httpbin.$1:14001/get status
	began+=("$1=${EPOCHREALTIME/[.,]/}")
	status=$(within "$1-curl" curl -q -s -S -m 10 --noproxy '*' --resolve "httpbin.$1:14001:${address[$1-httpbin]}" \
		-o /dev/null -w '%{http_code}' "$url" 2>"$OUT/curl-$1.log") || true
	[ "$status" = 200 ] || fail "curl $url: expected 200, got $status $(cat "$OUT/curl-$1.log")"
	step "$([ "${#began[@]}" != 1 ] || echo traffic)" "curl $url"
}

# findings counts the findings so far.
findings() { cat "$OUT"/tap-*.jsonl "$OUT"/topic-*.jsonl 2>/dev/null | grep -c plaintext-edge; }
found() { [ "$(findings)" -ge "$1" ]; }

taps=() dumps=() began=()
mount -t tmpfs demo /run # the namespaces' names and all temporary files
mkdir -p "$work"
mkdir -m 1777 "$work/envoy" # where Envoy's user writes
cp "$TAP" "$work/tap"

node
for pod in "${pods[@]}"; do pod "$pod" "${address[$pod]}"; done
step pods "four network namespaces on a bridge of their own, $([ "$AS" = root ] && echo "as root" || echo "in a user namespace")"
if [ -n "$KAFKA" ]; then
	pod kafka "$BROKER"
	broker >"$OUT/kafka.log" 2>&1 &
fi

"$BIN/certs" "$work/envoy/certs" spiffe://cluster.local/ns/encrypted/sa/{curl,httpbin}
for name in curl httpbin; do
	redirect "encrypted-$name" || fail "nftables refused the REDIRECT: this kernel lacks its modules nft_chain_nat and nft_redir"
	sidecar "encrypted-$name" "$name"
done
for namespace in unencrypted encrypted; do
	start "$OUT/$namespace-httpbin.log" "$namespace-httpbin" "$BIN/go-httpbin" -port 14001
	until_true 10 "go-httpbin, see $OUT/$namespace-httpbin.log" grep -q listening "$OUT/$namespace-httpbin.log"
done
for name in curl httpbin; do
	until_true 30 "Envoy, see $OUT/envoy-$name.log" grep -q 'starting workers' "$OUT/envoy-$name.log"
done
step mesh "Envoy in both pods of \`encrypted\`, REDIRECT to its ports 15001 (out) and 15003 (in)"
if [ -n "$KAFKA" ]; then
	until_true 90 "Kafka, see $OUT/kafka.log" test -e "$work/kafka/ready"
	step kafka "a broker at $BROKER:$BROKER_PORT for the records, read by kcat"
	kcat -C -q -u -b "$BROKER:$BROKER_PORT" -t meshtls-tap.findings >"$OUT/topic-findings.jsonl" 2>"$OUT/kcat.log" </dev/null &
	pids+=($!)
fi

for pod in "${pods[@]}"; do tap "$pod"; done
for pod in "${pods[@]}"; do until_true 10 "the tap, see $OUT/tap-$pod.log" ready "$pod"; done
step taps "one in each pod, on eth0 and lo, with NET_RAW only"
for pod in "${pods[@]}"; do
	for interface in eth0 lo; do dump "$pod" "$interface"; done
done

request unencrypted
request encrypted
expected=2
if [ -n "$KAFKA" ]; then
	within unencrypted-curl kcat -L -b "$BROKER:$BROKER_PORT" >"$OUT/kcat.log" 2>&1 </dev/null
	step "" "kcat -L -b $BROKER:$BROKER_PORT (in \`unencrypted\`, in plaintext)"
	expected=3
fi
until_true 5 "$expected findings, see $OUT/tap-*.jsonl" found "$expected"

end "${taps[@]}"
if [ -n "$KAFKA" ]; then
	for topic in findings posture flows; do consume "$topic" >"$OUT/topic-$topic.jsonl"; done
fi
end "${dumps[@]}"
for pod in "${pods[@]}"; do
	for interface in eth0 lo; do
		"$TAP" read --output=json --emit=findings,flows --local="${address[$pod]}" "$OUT/$pod.$interface.pcap" >"$OUT/read-$pod.$interface.jsonl"
	done
done
end "${pids[@]}"
cp "$work/envoy/access.log" "$OUT/envoy-access.log"

cd "$DEMO/.."
out=${OUT#"$PWD/"}
printf '\nLive, each tap in its pod\n\n'
"$BIN/answer" -out "$OUT" -began "$(IFS=,; echo "${began[*]}")" ${KAFKA:+-broker "$BROKER:$BROKER_PORT"} || fail "the records are in $out"
printf '\nAccess log of Envoy beside httpbin: %s\n' "$(cat "$OUT/envoy-access.log")"
printf '\nSummary: bin/tap read %s/*-curl.*.pcap\n\n' "$out"
"$TAP" read --output=text "$OUT"/*-curl.*.pcap | sed 's/^./  &/'
echo
step records "$out/$([ -n "$KAFKA" ] && echo "topic-*.jsonl, as kcat consumed them" || echo "tap-*.jsonl")"
step captures "$out/*.pcap: tap read judges each connection as the live tap did${KAFKA:+; they leave out the broker, so the summary lacks its finding}"
step logs "$out/*.log"

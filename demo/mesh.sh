# Functions to be sourced. They do to a pod what Open Service Mesh does: run Envoy beside the application,
# and redirect all of the pod's TCP to it.

# Envoy's traffic is distinguished from the application's by its user, 1500 as in OSM. If there is only
# one user (a user namespace without subordinate ids), Envoy marks its packets instead.
if [ "$AS" = root ]; then
	proxy="meta skuid 1500"
	as_proxy=(setpriv --reuid=1500 --regid=1500 --clear-groups --inh-caps=+dac_read_search --ambient-caps=+dac_read_search)
	bootstrap="{}"
else
	proxy="meta mark 1500"
	as_proxy=()
	bootstrap='{cluster_manager: {upstream_bind_config: {source_address: {address: 0.0.0.0, port_value: 0},
		socket_options: [{level: 1, name: 36, int_value: 1500, state: STATE_PREBIND, description: SO_MARK}]}}}'
fi

# redirect POD redirects TCP that leaves the pod to 15001 and TCP that arrives to 15003, as OSM's init
# container does with iptables. It excludes Envoy's own packets, loopback, and the broker's port if there
# is a broker (like OSM's outbound port exclusion).
redirect() {
	within "$1" nft -f - <<-N
		table ip mesh {
			chain inbound {
				type nat hook prerouting priority dstnat
				iifname eth0 meta l4proto tcp redirect to :15003
			}
			chain outbound {
				type nat hook output priority -100
				$proxy return
				oifname lo return
				${BROKER_PORT:+tcp dport $BROKER_PORT return}
				meta l4proto tcp redirect to :15001
			}
		}
	N
}

# sidecar POD NAME starts Envoy with envoy/NAME.yaml.
sidecar() {
	(
		cd "$work/envoy"
		exec nsenter --net=/run/netns/"$1" "${as_proxy[@]}" "$ENVOY" -c "$DEMO/envoy/$2.yaml" --config-yaml "$bootstrap" \
			--concurrency 1 --disable-hot-restart --log-level info
	) >"$OUT/envoy-$2.log" 2>&1 </dev/null &
	pids+=($!)
}

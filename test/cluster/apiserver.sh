#!/usr/bin/env bash
# The tier without a node: runs a command while etcd and kube-apiserver run on loopback. It does not need root.
#
#   apiserver.sh WORK COMMAND...
#
# It is enough for admission, Pod Security, RBAC, policies and charts: objects are checked and stored, but no pod runs. The command
# gets KUBECONFIG (of an administrator) and kubectl in PATH. Both servers end with this shell, even if it is killed.
# WORK/bin has the programs (build.sh api); logs are written to WORK/logs.
set -euo pipefail
work=$(cd "${1:?usage: apiserver.sh WORK COMMAND...}" && pwd)
shift
state=$work/api pki=$work/api/pki log=$work/logs
rm -rf "$state"
mkdir -p "$state" "$log"
pids=()

over() {
	trap - EXIT
	{
		[[ ${#pids[@]} == 0 ]] || kill -9 "${pids[@]}" || true
		wait
	} 2>/dev/null
	rm -rf "$state"
}
trap over EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

start() { # NAME ARG...: starts a server, which the kernel kills when this shell ends
	setpriv --pdeathsig KILL "$work/bin/$1" "${@:2}" </dev/null >"$log/api-$1.log" 2>&1 7>&- 8>&- 9>&- &
	pids+=($!)
}
free_port() { # prints a free port below the ephemeral range
	local p
	while :; do
		p=$((10000 + (RANDOM * 32768 + RANDOM) % 20000))
		(exec 3<>"/dev/tcp/127.0.0.1/$p") 2>/dev/null || { echo "$p"; return; }
	done
}
ready() { "$work/bin/kubectl" --kubeconfig "$pki/admin.kubeconfig" --request-timeout 2s get --raw /readyz >/dev/null 2>&1; }

port=$(free_port) etcd=$(free_port)
"$work/bin/labkit" pki -dir "$pki" -server "https://127.0.0.1:$port"
start etcd --data-dir "$state/etcd" --unsafe-no-fsync --log-level warn \
	--listen-client-urls "http://127.0.0.1:$etcd" --advertise-client-urls "http://127.0.0.1:$etcd" \
	--listen-peer-urls http://127.0.0.1:0
# The client certificate that the API server presents to all webhooks.
cat >"$state/webhooks.kubeconfig" <<YAML
{apiVersion: v1, kind: Config, users: [{name: "*", user: {client-certificate: "$pki/apiserver-kubelet-client.crt", client-key: "$pki/apiserver-kubelet-client.key"}}]}
YAML
cat >"$state/admission.yaml" <<YAML
apiVersion: apiserver.config.k8s.io/v1
kind: AdmissionConfiguration
plugins:
- name: MutatingAdmissionWebhook
  configuration: {apiVersion: apiserver.config.k8s.io/v1, kind: WebhookAdmissionConfiguration, kubeConfigFile: "$state/webhooks.kubeconfig"}
YAML
# The admission plugin ServiceAccount is disabled, because no controller creates service accounts here. In the tests a Service of type
# ExternalName "localhost" leads to the webhook, so that the tested configurations are those that users install.
start kube-apiserver --etcd-servers "http://127.0.0.1:$etcd" \
	--bind-address 127.0.0.1 --advertise-address 127.0.0.1 --secure-port "$port" --endpoint-reconciler-type none \
	--tls-cert-file "$pki/apiserver.crt" --tls-private-key-file "$pki/apiserver.key" --client-ca-file "$pki/ca.crt" \
	--admission-control-config-file "$state/admission.yaml" --authorization-mode RBAC --disable-admission-plugins ServiceAccount \
	--service-account-issuer https://kubernetes.default.svc --service-account-key-file "$pki/sa.key" \
	--service-account-signing-key-file "$pki/sa.key" --service-cluster-ip-range 10.97.0.0/16
for i in {1..600}; do
	ready && break
	if ! kill -0 "${pids[@]}" 2>/dev/null || ((i == 600)); then
		echo "the API server did not come up; see $log" >&2
		tail -n 3 "$log"/api-*.log >&2
		exit 1
	fi
	sleep 0.1
done
KUBECONFIG=$pki/admin.kubeconfig PATH=$work/bin:$PATH "$@"

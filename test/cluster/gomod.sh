#!/usr/bin/env bash
# Writes the go.mod of this module for one Kubernetes release, and resolves it:
#   gomod.sh v1.37.2
# k8s.io/kubernetes requires its staging modules at v0.0.0 and replaces them by folders of its own repository. These replacements
# do not apply to other modules, so each module is replaced by the published v0.<minor>.<patch> of the same release. Helm and the
# chart's other tools are in the same module because they use the same Kubernetes packages, which are then compiled only once.
set -euo pipefail
cd "$(dirname "$0")"
release=${1:?usage: gomod.sh vMAJOR.MINOR.PATCH}
staging=v0.${release#v1.}
released=$(go mod download -json "k8s.io/kubernetes@$release" | sed -n 's/.*"GoMod": "\(.*\)",/\1/p')
{
	echo "// Written by gomod.sh $release"
	echo "module github.com/meshtls-tap/meshtls-tap/test/cluster"
	echo
	sed -n -e '/^go /p' -e '/^godebug /p' "$released"
	cat <<-MOD

		tool (
			github.com/helm-unittest/helm-unittest/cmd/helm-unittest
			github.com/yannh/kubeconform/cmd/kubeconform
			helm.sh/helm/v3/cmd/helm
			helm.sh/helm/v4/cmd/helm
		)

		require (
			github.com/helm-unittest/helm-unittest v1.1.2
			github.com/yannh/kubeconform v0.8.0
			helm.sh/helm/v3 v3.22.0
			helm.sh/helm/v4 v4.3.1
			k8s.io/kubernetes $release
		)

		// as helm-unittest's own go.mod has it
		replace github.com/vmware-labs/yaml-jsonpath => github.com/helm-unittest/yaml-jsonpath v0.4.0
	MOD
	echo
	# indirect requirements have at least the versions of the release
	echo "require ("
	awk '/^require \(/{r=1;next} r&&/^\)/{r=0} r' "$released" |
		awk -v s="$staging" '$2=="v0.0.0"{$2=s} {print "\t" $1, $2, "// indirect"}'
	echo ")"
	echo
	echo "replace ("
	sed -n 's#^\t\(k8s.io/[a-z-]*\) => ./staging/.*#\1#p' "$released" |
		while read -r m; do echo "	$m => $m $staging"; done
	echo ")"
} >go.mod
go mod tidy

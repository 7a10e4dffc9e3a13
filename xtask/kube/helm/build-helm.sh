#!/usr/bin/env bash
# Build Helm from its pinned Go module, statically; needs Go >= 1.26 and a Go module proxy.
#
#   build-helm.sh [--out DIR]
#
# DIR (default ${XDG_CACHE_HOME:-~/.cache}/marblerun/kube) gets the binary `helm`. One already there is taken if it was built from
# the same go.sum (DIR/.helm.go.sum) or if it is somebody's own (there is no such file). About 3 minutes on 2 cores with an empty
# Go build cache. The last line printed is DIR. go.mod pins the version; go.sum is complete.
set -euo pipefail

HERE=$(cd "$(dirname "$0")" && pwd)
HELM=$(awk '$1 == "require" && $2 == "helm.sh/helm/v3" {print $3; exit}' "$HERE/go.mod")
OUT=${XDG_CACHE_HOME:-$HOME/.cache}/marblerun/kube
while [ $# -gt 0 ]; do
  case $1 in
    --out) OUT=${2:?}; shift 2 ;;
    *) sed -n '2,8p' "$0" | sed 's/^# \{0,1\}//' >&2; exit 2 ;;
  esac
done
mkdir -p "$OUT"; OUT=$(cd "$OUT" && pwd)
# two builds into one directory wait for each other
if command -v flock >/dev/null; then exec 8>"$OUT/.helm.lock"; flock 8; fi
if [ -x "$OUT/helm" ] && { [ ! -e "$OUT/.helm.go.sum" ] || cmp -s "$HERE/go.sum" "$OUT/.helm.go.sum"; }; then
  echo "$OUT"; exit 0
fi
rm -f "$OUT/helm"
command -v go >/dev/null || { echo "build-helm: go is needed" >&2; exit 1; }

# work on a copy: -mod=mod may write go.mod and go.sum
WORK=$(mktemp -d); trap 'rm -rf "$WORK"' EXIT
cp "$HERE"/{go.mod,go.sum,tools.go} "$WORK"; cd "$WORK"
export GOFLAGS=-mod=mod CGO_ENABLED=0 GOWORK=off
echo "build-helm: building helm $HELM" >&2
# the Kubernetes version that templates and lints see without a cluster: that of the client library
minor=$(awk '$1 == "k8s.io/client-go" {split($2, v, "."); print v[2]; exit}' go.mod)
ld="-s -w -X helm.sh/helm/v3/internal/version.version=$HELM -X helm.sh/helm/v3/internal/version.gitTreeState=clean"
for p in pkg/chartutil pkg/lint/rules; do
  ld="$ld -X helm.sh/helm/v3/$p.k8sVersionMajor=1 -X helm.sh/helm/v3/$p.k8sVersionMinor=$minor"
done
go build -trimpath -ldflags "$ld" -o "$OUT/.helm.tmp" helm.sh/helm/v3/cmd/helm
cp "$HERE/go.sum" "$OUT/.helm.go.sum"
mv "$OUT/.helm.tmp" "$OUT/helm"
echo "$OUT"

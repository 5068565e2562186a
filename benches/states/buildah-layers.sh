#!/bin/sh
# The image by buildah's own cache of layers: `buildah-layers.sh STORAGE REFERENCE [CACHE]`, in the
# application's directory. With CACHE, a repository, layers are looked for there and kept there.
set -eu
storage=$1
reference=$2
if [ $# -gt 2 ]; then
    set -- --cache-from "$3" --cache-to "$3"
else
    set --
fi
buildah() {
    command buildah --root "$storage/root" --runroot "$storage/run" "$@"
}
buildah build --quiet --layers --tls-verify=false "$@" --tag links .
buildah push --quiet --tls-verify=false links "docker://$reference"

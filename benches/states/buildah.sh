#!/bin/sh
# The image by buildah's single steps: `buildah.sh STORAGE REFERENCE`, in the application's directory.
set -eu
buildah() {
    command buildah --root "$storage/root" --runroot "$storage/run" "$@"
}
storage=$1
container=$(buildah from scratch)
buildah copy --quiet "$container" node_modules /app/node_modules
buildah copy --quiet "$container" package.json /app/
buildah copy --quiet "$container" config /app/config
buildah copy --quiet "$container" public /app/public
buildah copy --quiet "$container" src /app/src
buildah config --entrypoint '["node", "/app/src/server.js"]' "$container"
buildah commit --quiet "$container" links
buildah push --quiet --tls-verify=false links "docker://$2"

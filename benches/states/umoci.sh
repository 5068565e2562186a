#!/bin/sh
# The image by umoci and skopeo: `umoci.sh LAYOUT REFERENCE [TIMES]`, in the application's directory.
# With TIMES, all modification times are set to it first, so that equal files make equal layers.
set -eu
image=$1:main
if [ $# -gt 2 ]; then
    find . -exec touch --no-dereference --date "$3" {} +
fi
umoci init --layout "$1"
umoci new --image "$image"
umoci insert --image "$image" node_modules /app/node_modules
umoci insert --image "$image" package.json /app/package.json
umoci insert --image "$image" config /app/config
umoci insert --image "$image" public /app/public
umoci insert --image "$image" src /app/src
umoci config --image "$image" --config.entrypoint node --config.entrypoint /app/src/server.js
skopeo --insecure-policy copy --quiet --dest-tls-verify=false "oci:$image" "docker://$2"

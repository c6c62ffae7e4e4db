#!/usr/bin/env bash
# A certificate authority and a certificate of it, for trying things out: self-signed.sh [FOLDER] [NAME ...]
# For one machine `gpanel-proxy --dev-mode` makes its own and needs no files.
set -euo pipefail
folder=${1:-certs}
shift || true
mkdir -p "$folder"
cd "$folder"
names=DNS:localhost,DNS:*.ghostpanel.local,IP:127.0.0.1,IP:::1
for name in "$@"; do names+=",DNS:$name"; done

umask 077
openssl ecparam -name prime256v1 -genkey -noout -out ca.key
openssl req -new -x509 -key ca.key -sha256 -subj "/O=GhostPanel/CN=GhostPanel CA" -days 3650 -out ca.crt
openssl ecparam -name prime256v1 -genkey -noout -out proxy.key
openssl req -new -key proxy.key -subj "/O=GhostPanel/CN=localhost" -out proxy.csr
openssl x509 -req -in proxy.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 365 -sha256 -out proxy.crt -extfile <(
    printf '%s\n' "basicConstraints=critical,CA:FALSE" "keyUsage=critical,digitalSignature" \
        "extendedKeyUsage=serverAuth" "subjectAltName=$names"
)
rm proxy.csr
chmod 644 proxy.crt ca.crt
echo "made $PWD/proxy.crt and proxy.key for $names; clients must trust $PWD/ca.crt"

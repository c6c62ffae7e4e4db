#!/usr/bin/env bash
# /etc/letsencrypt/renewal-hooks/deploy/gpanel-proxy.sh: certbot runs it after each renewal. The key is put in place
# before the certificate, each by a rename, and the proxy takes both up without dropping a connection.
set -euo pipefail
target=/etc/gpanel/certs
install -d -o root -g gpanel -m 0750 "$target"
for pair in privkey.pem:proxy.key fullchain.pem:proxy.crt; do
    install -o root -g gpanel -m 0640 "$RENEWED_LINEAGE/${pair%%:*}" "$target/.${pair##*:}"
    mv "$target/.${pair##*:}" "$target/${pair##*:}"
done
systemctl reload gpanel-proxy

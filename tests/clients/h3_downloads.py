"""Downloads over HTTP/3 with libcurl (curl_cffi): `h3_downloads.py PORT COUNT BYTES reuse|fresh`.

Prints {"good": n, "bad": [...], "version": "..."}.
"""

import hashlib
import json
import sys

from curl_cffi import CurlHttpVersion, CurlInfo, requests

port, count, size, mode = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
url = f"https://127.0.0.1:{port}/bytes/{size}"
good, bad, digests, versions = 0, [], set(), set()
session = requests.Session(verify=False, http_version=CurlHttpVersion.V3ONLY)
for number in range(count):
    if mode == "fresh" and number:
        session.close()
        session = requests.Session(verify=False, http_version=CurlHttpVersion.V3ONLY)
    try:
        answer = session.get(url, timeout=20)
        versions.add(answer.http_version)
        if answer.status_code == 200 and len(answer.content) == size:
            good += 1
            digests.add(hashlib.sha256(answer.content).hexdigest())
        else:
            bad.append(f"{answer.status_code} with {len(answer.content)} bytes")
    except requests.exceptions.RequestException as error:
        bad.append(str(error))
upload = session.post(f"https://127.0.0.1:{port}/echo", data=b"u" * 300_000, timeout=20)
print(json.dumps({
    "good": good, "bad": bad, "digests": sorted(digests), "versions": sorted(int(v) for v in versions),
    "upload": [upload.status_code, len(upload.content)],
}))

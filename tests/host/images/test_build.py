from __future__ import annotations

from pathlib import Path

import pytest

from sftplay.errors import MachineError, StorageError
from sftplay.host.images.build import explain

# Output of real builds (engine 20.10, uv 0.13), cut to the lines that count.
HASH = "#10 12.1   cause: Hash mismatch for `attrs==26.1.0`\n#10 12.1 Expected:\n#10 12.1   sha256:0000"
DISK = "#10 ERROR: failed to copy: write /var/lib/docker/tmp/x: no space left on device"
BASE = "#3 ERROR: failed to do request: Head https://registry.example/v2/library/debian/manifests/x: dial tcp: timeout"
AUTHORITY = "#9 ERROR: SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed"
NETWORK = "#5 W: Failed to fetch http://deb.example/dists/bookworm  Temporary failure resolving 'deb.example'"


@pytest.mark.parametrize(
    ("output", "kind", "what", "todo"),
    [
        (HASH, MachineError, "not the one that the lock names", "git checkout"),
        (DISK, StorageError, "disk is full", "image.prune"),
        (BASE, MachineError, "base image", "--base"),
        (AUTHORITY, MachineError, "certificates", "SSL_CERT_FILE"),
        (NETWORK, MachineError, "no network", "HTTPS_PROXY"),
        ("something else", MachineError, "could not be built", "above"),
    ],
)
def test_a_failed_build_says_why_and_what_to_do(
    output: str, kind: type, what: str, todo: str
) -> None:
    problem = explain(output, Path("outputs/error.txt"))
    assert type(problem) is kind
    assert what in problem.what
    assert todo in problem.todo
    assert problem.where == "outputs/error.txt"

"""A server on loopback that answers for one dataset as the hub does."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from urllib.parse import unquote

from tests.model.hub.answering import HubHandler

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@contextmanager
def serving(
    name: str, files: Mapping[str, bytes], sizes: Mapping[str, int] | None = None
) -> Iterator[str]:
    """Yield the address of a hub that has this dataset.

    Args:
        sizes: of files that are larger than what is sent.
    """

    class Hub(_Hub):
        dataset, content, claimed = name, files, sizes or {}

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


class _Hub(HubHandler):
    """The requests that huggingface_hub makes for a snapshot: repository, list of files, each file."""

    dataset = ""
    content: Mapping[str, bytes] = {}
    claimed: Mapping[str, int] = {}

    def do_GET(self) -> None:  # noqa: N802 - http.server looks it up by this name
        path = unquote(self.path.partition("?")[0])
        if "/gated" in path:
            self.refuse(403, "GatedRepo")
        elif path == f"/api/datasets/{self.dataset}/revision/main":
            self.send_json(
                {
                    "id": self.dataset,
                    "sha": COMMIT,
                    "siblings": [
                        {"rfilename": name, "size": self.claimed.get(name, len(content))}
                        for name, content in self.content.items()
                    ],
                }
            )
        elif path.startswith(f"/api/datasets/{self.dataset}/revision/"):
            self.refuse(404, "RevisionNotFound")
        elif path.startswith(f"/api/datasets/{self.dataset}/tree/"):
            self.send_json(
                [
                    {"type": "file", "path": n, "size": len(c), "oid": _oid(c)}
                    for n, c in self.content.items()
                ]
            )
        elif path.startswith(f"/datasets/{self.dataset}/resolve/{COMMIT}/"):
            self._file(self.content[path.partition(f"{COMMIT}/")[2]])
        else:
            self.refuse(404, "RepoNotFound")

    do_HEAD = do_GET  # noqa: N815 - http.server looks it up by this name

    def _file(self, content: bytes) -> None:
        self.send_bytes(200, content, {"ETag": f'"{_oid(content)}"', "X-Repo-Commit": COMMIT})


def _oid(content: bytes) -> str:
    return hashlib.sha1(content, usedforsecurity=False).hexdigest()

"""A hub on loopback: repositories, commits and large files, as huggingface_hub asks for them."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

from tests.model.hub.answering import HubHandler

TOKEN = "hf_standin"


@dataclass
class Repository:
    """One model repository.

    Attributes:
        commits: newest last; files: of the newest one.
    """

    private: bool = False
    commits: list[str] = field(default_factory=list)
    files: dict[str, bytes] = field(
        default_factory=lambda: {".gitattributes": b"*.safetensors lfs"}
    )

    def commit(self, message: str) -> str:
        """Add a commit of the files as they are now; returns it."""
        seed = f"{len(self.commits)} {message}".encode()
        self.commits.append(hashlib.sha1(seed, usedforsecurity=False).hexdigest())
        return self.commits[-1]


@dataclass
class Hub:
    """What the server holds.

    Attributes:
        breaks_at: a word in a path: the connection ends there, as a network that is gone.
    """

    url: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    breaks_at: str = ""


@contextmanager
def standin_hub() -> Iterator[Hub]:
    """Run it."""
    hub = Hub()

    class Handler(_Handler):
        pass

    Handler.hub = hub
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield hub
    server.shutdown()
    server.server_close()


class _Handler(HubHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def do_GET(self) -> None:  # noqa: N802 - http.server looks it up by this name
        path = self._path()
        name = "/".join(path.removeprefix("/api/models/").split("/")[:2])
        found = self.hub.repositories.get(name)
        if (
            not path.startswith("/api/models/")
            or found is None
            or (found.private and not self._is_known())
        ):
            self.refuse(404, "RepoNotFound")
        else:
            siblings = [{"rfilename": one} for one in sorted(found.files)]
            self.send_json(
                {
                    "id": name,
                    "private": found.private,
                    "sha": found.commits[-1],
                    "siblings": siblings,
                }
            )

    def do_POST(self) -> None:  # noqa: N802 - http.server looks it up by this name
        path, body = self._path(), self._body()
        if not path:
            return
        if not self._is_known():
            self.refuse(401, "Unauthorized")
        elif path == "/api/repos/create":
            asked = json.loads(body)
            name = (
                f"{asked['organization']}/{asked['name']}"
                if asked.get("organization")
                else asked["name"]
            )
            private = bool(asked.get("private")) or asked.get("visibility") == "private"
            self.hub.repositories[name] = made = Repository(private)
            made.commit("initial commit")
            self.send_json({"url": f"{self.hub.url}/{name}"})
        elif "/preupload/" in path:
            files = json.loads(body)["files"]
            kinds = [
                {
                    "path": one["path"],
                    "uploadMode": "lfs" if one["path"].endswith(".safetensors") else "regular",
                    "shouldIgnore": False,
                    "oid": None,
                }
                for one in files
            ]
            self.send_json({"files": kinds})
        elif path.endswith("/info/lfs/objects/batch"):
            objects = [
                {
                    "oid": one["oid"],
                    "size": one["size"],
                    "actions": {
                        "upload": {"href": f"{self.hub.url}/lfs/{one['oid']}", "header": {}}
                    },
                }
                for one in json.loads(body)["objects"]
            ]
            self.send_json({"transfer": "basic", "objects": objects})
        elif "/commit/" in path:
            self._commit(path, body)
        else:
            self.send_json({})

    def do_PUT(self) -> None:  # noqa: N802 - http.server looks it up by this name
        path, body = self._path(), self._body()
        if path:
            self.hub.objects[path.rpartition("/")[2]] = body
            self.send_json({})

    def _commit(self, path: str, body: bytes) -> None:
        name = "/".join(path.removeprefix("/api/models/").split("/")[:2])
        found, files = self.hub.repositories[name], {}
        head: dict[str, Any] = {}
        for line in body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "header":
                head = value
            elif entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                files[value["path"]] = self.hub.objects[value["oid"]]
            elif entry["key"] == "deletedFile":
                found.files.pop(value["path"])
        if head.get("parentCommit") not in (None, found.commits[-1]):
            self.refuse(412, "Conflict")
            return
        found.files.update(files)
        commit = found.commit(head["summary"])
        self.send_json({"commitUrl": f"{self.hub.url}/{name}/commit/{commit}", "commitOid": commit})

    def _path(self) -> str:
        """The path; empty where the network is gone."""
        path = unquote(self.path.partition("?")[0])
        self.hub.requests.append(f"{self.command} {path}")
        if self.hub.breaks_at and self.hub.breaks_at in path:
            self.close_connection = True
            self.connection.close()
            return ""
        return path

    def _body(self) -> bytes:
        try:
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        except (OSError, ValueError):
            return b""

    def _is_known(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

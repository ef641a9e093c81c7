"""The documentation site: `inv docs` updates the generated parts, builds with --strict and serves.

MkDocs and its theme come from the dev environment. The site loads nothing from other hosts.
"""

from __future__ import annotations

from invoke.collection import Collection

from sftplay import console
from sftplay.errors import MachineError
from sftplay.host.dev import pages
from sftplay.host.dev.tools import run_tool
from sftplay.host.system.processes import is_free, next_free

PORT = 8000
SITE = "site"  # git ignores it


def run(
    menu: pages.Menu, collection: Collection, *, build_only: bool = False, port: int | None = None
) -> int:
    """Build the site into site/ and serve it on 127.0.0.1 until Ctrl-C.

    Args:
        menu: the tasks by heading. collection: all tasks, as Invoke reads them.
        build_only: build and stop; generated parts are left as they are (a test compares them).

    Returns:
        MkDocs' exit code: 1 if a link, an anchor or a page of the navigation is broken.

    Raises:
        MachineError: the port is taken (69).
    """
    if not build_only:
        _require_free(port or PORT)
        for page in pages.update(menu, collection):
            console.info(f"{page}: generated parts updated")
    code = run_tool("mkdocs", "build", "--strict", "--quiet", "--site-dir", SITE, **_QUIET)
    if code:
        return code
    console.success(f"the documentation is in {SITE}/index.html")
    if build_only:
        return 0
    console.info(f"serving on http://127.0.0.1:{port or PORT}; Ctrl-C stops it")
    address = f"127.0.0.1:{port or PORT}"
    return run_tool("mkdocs", "serve", "--strict", "--quiet", "--dev-addr", address, **_QUIET)


_QUIET = {
    "NO_MKDOCS_2_WARNING": "1"
}  # the theme's notice about a future MkDocs: the lock pins this one


def _require_free(port: int) -> None:
    if not is_free(port):
        free = next_free(port)
        raise MachineError(
            f"port {port} is in use",
            where=f"127.0.0.1:{port}",
            todo=f"inv docs --port {free}" if free else "",
        )

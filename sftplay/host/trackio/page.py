"""`page PORT [RUN]`: trackio's page on 127.0.0.1, and the mirror that it shows.

One process does both, so there is one to record and to stop. The page can't change the store:
trackio refuses its writing calls (TRACKIO_PAUSE_WRITES).
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Sequence

from sftplay import console
from sftplay.errors import SftplayError
from sftplay.host.runs.tracked import STORE_LOCK
from sftplay.host.trackio.mirror import Mirror
from sftplay.host.trackio.store import Store
from sftplay.locks import hold

_GRACE = 2  # seconds for a browser's open requests when the page stops


def main(argv: Sequence[str]) -> int:
    """Mirror once, then answer and follow until a signal comes. Returns the exit code."""
    port, only = int(argv[0]), argv[1] if len(argv) > 1 else None
    try:
        with hold(
            STORE_LOCK, what="trackio's store", who="trackio's page", todo="inv stop-trackio"
        ):
            mirror = Mirror(Store(), only)
            console.info(f"rows written: {mirror.update():,}")
            stop = threading.Event()
            follower = threading.Thread(target=_follow, args=(mirror, stop), daemon=True)
            follower.start()
            _serve(port)
            stop.set()
            follower.join()
    except SftplayError as problem:
        console.failure(problem)
        return problem.code
    return 0


def _follow(mirror: Mirror, stop: threading.Event) -> None:
    """Follow the records. A follower that fails ends the page, which would show old curves as new."""
    try:
        mirror.follow(stop)
    finally:
        if not stop.is_set():
            os.kill(os.getpid(), signal.SIGTERM)


def _serve(port: int) -> None:
    """Answer on 127.0.0.1 alone, until a signal comes.

    trackio's own `show` prints an address with a secret and can open a tunnel; this can't.
    """
    import uvicorn
    from trackio.frontend_config import BUNDLED_FRONTEND_DIR
    from trackio.server import build_starlette_app_only

    app, _ = build_starlette_app_only(frontend_dir=str(BUNDLED_FRONTEND_DIR))
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=port,
        log_level="warning",
        timeout_graceful_shutdown=_GRACE,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

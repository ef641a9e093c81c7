"""`python3 tasks.py NAME` works with Python alone; `inv NAME` afterwards, with .venv/bin on the
PATH.

The tasks themselves are in sftplay/host/cli/menu.py.
"""

import os
import sys

# This folder is searched last: a json.py of yours in it must not hide Python's own.
_HERE = os.path.dirname(os.path.abspath(__file__))
_REAL = os.path.realpath(_HERE)
sys.path[:] = [path for path in sys.path if path and os.path.realpath(path) != _REAL]
sys.path.append(_HERE)

if __name__ == "__main__":
    from sftplay.host.cli import bootstrap

    code = bootstrap.enter(sys.argv[1:])
    if code is None:
        code = bootstrap.run_menu(sys.argv)
    sys.exit(code)

from sftplay.host.cli.menu import namespace
from sftplay.host.cli.program import adopt

adopt()  # where `inv` reads this: wrong command lines end as they do here

__all__ = ["namespace"]

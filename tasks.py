"""`python3 tasks.py NAME` works with Python alone; `inv NAME` afterwards, with .venv/bin on the
PATH.

The tasks themselves are in sftplay/host/cli/menu.py.
"""

import sys

if __name__ == "__main__":
    from sftplay.host.cli import bootstrap

    code = bootstrap.enter(sys.argv[1:])
    if code is None:
        from sftplay.host.cli.menu import namespace
        from sftplay.host.cli.program import main

        code = main(sys.argv, namespace)
    sys.exit(code)

from sftplay.host.cli.menu import namespace
from sftplay.host.cli.program import adopt

adopt()  # where `inv` reads this: wrong command lines end as they do here

__all__ = ["namespace"]

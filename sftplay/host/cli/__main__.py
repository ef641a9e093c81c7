"""`python -m sftplay.host.cli TASK …`: the menu in this Python, for processes that sftplay starts."""

import sys

from sftplay.host.cli.menu import namespace
from sftplay.host.cli.program import main

if __name__ == "__main__":
    sys.exit(main(sys.argv, namespace))

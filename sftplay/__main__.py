"""`python -m sftplay STAGE …`: the same argv in a container, in a local environment and under
compose.
"""

import sys

from sftplay.cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

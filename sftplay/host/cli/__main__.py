"""The menu in this Python: `sftplay TASK …` where it is installed, and `python -m sftplay.host.cli`
for processes that sftplay starts.
"""

import sys


def start() -> int:
    """Run the task that the command line names. Returns the exit code."""
    from sftplay.host.system import interpreter

    interpreter.start_unchanged()
    from sftplay import console
    from sftplay.stops import raise_swallowed_again

    raise_swallowed_again()
    try:
        from sftplay.host.cli.menu import namespace
        from sftplay.host.cli.program import main
    except KeyboardInterrupt:
        console.error("stopped")
        return 130
    return main(sys.argv, namespace)


if __name__ == "__main__":
    sys.exit(start())

"""A module of sftplay as a program that imports Python's own modules first.

`python -m` looks into the working directory first, and into PYTHONPATH before the standard library,
so a json.py or yaml.py in the project would be imported by every library. Started as a script, this
file takes such places out and puts sftplay's own folder last.
"""

import os
import sys


def command(module: str, python: str = "") -> list[str]:
    """Return the words that run a module of sftplay in a Python (default: this one); its arguments
    follow.
    """
    return [python or sys.executable, os.path.abspath(__file__), module]


def use_own_path(source: str) -> None:
    """Take the working directory and `source` off the search path; add `source` as its end."""
    unwanted = os.path.realpath(source)
    sys.path[:] = [path for path in sys.path if path and os.path.realpath(path) != unwanted]
    sys.path.append(source)


if __name__ == "__main__":
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [path for path in sys.path if os.path.realpath(path) != os.path.realpath(here)]
    use_own_path(os.path.dirname(here))
    import runpy

    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)

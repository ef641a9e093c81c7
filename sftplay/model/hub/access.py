"""The hub's token and errors, in our words."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from sftplay.environment import token_file
from sftplay.errors import (
    MachineError,
    NotFoundError,
    PermissionDeniedError,
    RefusedError,
    UsageError,
)
from sftplay.library_errors import is_of_disk


def read_token() -> str | None:
    """Return the token from the file that HF_TOKEN_PATH names; never from an argument, never printed.

    Raises:
        NotFoundError: it is not there (66).
    """
    path = token_file(os.environ)
    return path.read_text(encoding="utf-8").strip() or None if path else None


def require_token() -> str:
    """Return the token.

    Raises:
        PermissionDeniedError: there is none (77).
    """
    token = read_token()
    if token is None:
        raise PermissionDeniedError(
            "publishing requires a token of the hub with write access",
            todo="put it into a file that only you can read, and set HF_TOKEN_PATH to it",
        )
    return token


def first_line(error: BaseException) -> str:
    """Return what an error says, in one line."""
    return str(error).strip().splitlines()[0][:160] if str(error).strip() else type(error).__name__


# What the system says, and what that means.
_NETWORK = {
    "Name or service not known": "its name can't be looked up; this machine has no network",
    "Temporary failure in name resolution": "its name can't be looked up; this machine has no network",
    "Network is unreachable": "this machine has no network",
    "No route to host": "this machine has no network",
    "Connection refused": "the connection was refused",
    "timed out": "it does not answer",
}


def _why(error: BaseException) -> str:
    """Return in words why there is no connection."""
    said = first_line(error)
    return next((words for sign, words in _NETWORK.items() if sign in said), said)


@contextmanager
def hub_errors(repository: str) -> Iterator[None]:
    """Turn the hub's errors while something is published into ours.

    Raises:
        PermissionDeniedError (77), NotFoundError (66), RefusedError (76), UsageError (2),
            MachineError (69).
    """
    from huggingface_hub import errors

    try:
        yield
    except errors.HFValidationError as error:
        raise UsageError(f"{repository} is no name of a repository: {first_line(error)}") from error
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise NotFoundError(
            f"the hub has no {repository}, or this token may not see it", todo="check the name"
        ) from error
    except errors.HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        if status in (401, 403):
            raise PermissionDeniedError(
                f"this token may not write to {repository}: {first_line(error)}",
                todo="make a token with write access, on the hub's settings page",
            ) from error
        if status in (409, 412):
            raise RefusedError(
                f"{repository} was changed by somebody else meanwhile", todo="look at it first"
            ) from error
        raise MachineError(
            f"the hub refused: {first_line(error)}",
            where=repository,
            todo="nothing was published; the same command tries again",
        ) from error
    except (
        errors.OfflineModeIsEnabled,
        errors.HTTPError,  # type: ignore[attr-defined]  # the client library's own, which the hub's module imports
        RuntimeError,  # an upload of a large file that gave up
        OSError,
    ) as error:
        if is_of_disk(error):
            raise  # a full disk and the like have codes of their own
        raise MachineError(
            f"the hub can't be reached: {_why(error)}",
            where=repository,
            todo="nothing was published, since a push is one commit; connect to the network (a proxy: HTTPS_PROXY), the same command tries again",
        ) from error

"""The hub's token and errors, in our words."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sftplay.errors import (
    MachineError,
    NotFoundError,
    PermissionDeniedError,
    RefusedError,
    UsageError,
)


def read_token() -> str | None:
    """Return the token from the file that HF_TOKEN_PATH names; never from an argument, never printed."""
    path = os.environ.get("HF_TOKEN_PATH")
    if path and Path(path).is_file():
        return Path(path).read_text(encoding="utf-8").strip() or None
    return None


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
        raise MachineError(
            f"the hub can't be reached: {first_line(error)}",
            where=repository,
            todo="nothing was published, since a push is one commit; the same command tries again",
        ) from error

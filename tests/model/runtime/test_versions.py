"""Versions of installed packages."""

from __future__ import annotations

import torch

from sftplay.model.runtime.versions import installed_versions


def test_a_package_of_another_stack_is_left_out() -> None:
    assert installed_versions(("torch", "no-such-package")) == {"torch": torch.__version__}

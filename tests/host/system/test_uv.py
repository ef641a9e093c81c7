"""Sources of packages: those that pip is configured with."""

from __future__ import annotations

from pathlib import Path

from sftplay.host.system.uv import uv_environ


def test_uv_looks_where_pip_is_told_to_look(tmp_path: Path) -> None:
    env, options = uv_environ({"PIP_FIND_LINKS": f"{tmp_path} /elsewhere"})
    assert env["UV_FIND_LINKS"] == f"{tmp_path},/elsewhere"
    assert options == ["--torch-backend", "cpu"]
    (tmp_path / "torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl").touch()
    assert uv_environ({"PIP_FIND_LINKS": str(tmp_path)})[1] == []
    assert (
        uv_environ({"UV_FIND_LINKS": "/mine", "PIP_FIND_LINKS": str(tmp_path)})[0]["UV_FIND_LINKS"]
        == "/mine"
    )


def test_a_cuda_stack_never_sees_the_folder_with_cpu_torch(tmp_path: Path) -> None:
    (tmp_path / "torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl").touch()
    env, options = uv_environ({"PIP_FIND_LINKS": f"{tmp_path} /elsewhere"}, cuda=True)
    assert (env["UV_FIND_LINKS"], options) == ("/elsewhere", [])
    assert "UV_FIND_LINKS" not in uv_environ({"UV_FIND_LINKS": str(tmp_path)}, cuda=True)[0]

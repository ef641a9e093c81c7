"""`inv launch.slurm`, `launch.k8s`, `launch.sky`: write the script or manifest of one training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from sftplay import console
from sftplay.errors import UsageError
from sftplay.files import write_text
from sftplay.host.cluster.job import PORT, ClusterJob, image_of, stack_of
from sftplay.host.cluster.kubernetes import kubernetes_manifest, takeover_manifest
from sftplay.host.cluster.sky import sky_task
from sftplay.host.cluster.slurm import slurm_script
from sftplay.host.images import published
from sftplay.places import output_file


def write_slurm(job: ClusterJob, *, pyxis: str | None, second: str | None, out: str | None) -> None:
    """Write a Slurm script.

    Args:
        pyxis: absolute path of the squashed image; None: the locked environment is used.
        second: the same of BitsAndBytes' image, for a training that Unsloth may hand over.

    Raises:
        UsageError: a path that is not absolute; several nodes with pyxis (2).
    """
    for path in (pyxis, second):
        if path is not None and not Path(path).is_absolute():
            raise UsageError(
                f"{path} is no absolute path, and pyxis would look for it in a registry",
                todo="for example: --pyxis /shared/sftplay-bnb.sqsh",
            )
    if pyxis and job.nodes > 1:
        raise UsageError(
            "several nodes are started in locked environments only, not with pyxis",
            todo="leave --pyxis out",
        )
    images = published.read() if pyxis else {}
    entry = images.get(stack_of(job))
    reference = entry.reference.replace("/", "#", 1) if entry else "REPOSITORY@sha256:…"
    text = slurm_script(
        job, image=pyxis or "", second=(second or "") if _may_hand_over(job) else "", reference=reference
    )  # fmt: skip
    if pyxis and _may_hand_over(job) and not second:
        console.warning(
            "Unsloth may hand over (79), and no image of BitsAndBytes is named: --second PATH"
        )
    target = Path(out or f"{job.name}.slurm")
    _write(target, text)
    console.info(f"next: sbatch {target}")


def write_kubernetes(
    job: ClusterJob, *, image: str | None, second: str | None, claim: str, out: str | None
) -> None:
    """Write the manifests; a second file for BitsAndBytes where Unsloth may hand over.

    Raises:
        UsageError: an image without a digest (2). MachineError: no image is published (69).
    """
    first_image = image_of(stack_of(job), image)
    path = Path(out or f"{job.name}.yaml")
    if _may_hand_over(job):
        after = path.with_name(f"{path.stem}-bnb{path.suffix}")
        bnb = replace(job, overrides=(*job.overrides, "backend=bnb"))
        _write(after, takeover_manifest(bnb, image_of("bnb", second), claim=claim))
        _write(path, kubernetes_manifest(job, first_image, claim=claim, second=str(after)))
        console.info(f"after a 79: kubectl apply -f {after}")
    else:
        _write(path, kubernetes_manifest(job, first_image, claim=claim))
    console.info(f"next: kubectl apply -f {path}")


def write_sky(job: ClusterJob, *, accelerator: str, out: str | None) -> None:
    """Write a SkyPilot task."""
    path = Path(out or f"{job.name}.sky.yaml")
    _write(path, sky_task(job, accelerator, PORT))
    console.info(f"next: sky jobs launch {path}")


def _may_hand_over(job: ClusterJob) -> bool:
    return job.backend == "unsloth" and job.gpus > 0


def _write(path: Path, text: str) -> None:
    write_text(output_file(str(path)), text)
    console.success(f"written: {path}")

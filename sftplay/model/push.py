"""Stage `push`: publish the adapter, the merged model or its GGUF files on the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path

from sftplay import console
from sftplay.errors import RefusedError, UsageError
from sftplay.files import human_size, write_json
from sftplay.locks import hold
from sftplay.model.hub.access import require_token
from sftplay.model.hub.contents import Publication, changes, gather
from sftplay.model.hub.upload import upload
from sftplay.places import REPOSITORY, published_base
from sftplay.runs import Run
from sftplay.stages import Job
from sftplay.untrusted import read_json


def run(job: Job) -> None:
    """Show what would be published; with --yes, publish it.

    Raises:
        UsageError: no owner/name, or two folders (2). NotFoundError: nothing to publish (66).
        PermissionDeniedError: no token (77). RefusedError: others could not use it, or the name is
            another's (76). MachineError: no network (69).
    """
    name, private = str(job.options.get("to") or ""), bool(job.options.get("private"))
    if not REPOSITORY.fullmatch(name):
        raise UsageError("push requires a repository: --to OWNER/NAME")
    target = Run(job.run_name)
    tuned = target.require_tuned()
    folder = _chosen(job, target) or tuned
    token = require_token()
    base = published_base(job.settings)
    if not base.on_hub and folder == target.adapter and not private:
        raise RefusedError(
            f"its base is the local folder {base.name}: others can't load the adapter",
            todo="publish base and adapter as one: inv merge, then --merged; or for yourself: --private",
        )
    publication = gather(folder, name)
    last = read_json(target.record).get("pushed", {}).get(name)
    _show(publication, last, private=private)
    if not job.options.get("yes"):
        console.info("nothing was sent: --yes sends it")
        return
    with hold(target.run_lock, who="a push", todo="wait for it to end"):
        commit = upload(publication, base, last, private=private, token=token)
        record = read_json(target.record)
        pushed = {
            "kind": publication.kind,
            "commit": commit,
            "private": private,
            "files": dict(publication.hashes),
        }
        write_json(target.record, {**record, "pushed": {**record.get("pushed", {}), name: pushed}})
    target.record_event("pushed", repository=name, what=publication.kind, commit=commit)
    console.success(f"{name} at commit {commit}")
    console.result(name)


def _chosen(job: Job, target: Run) -> Path | None:
    """Return the folder that an option names; None: none does."""
    merged, gguf = job.options.get("merged"), job.options.get("gguf")
    if merged and gguf:
        raise UsageError("--merged and --gguf exclude each other", todo="keep one of them")
    if merged:
        return target.require_merged()
    return target.require_gguf() if gguf else None


def _show(publication: Publication, last: dict[str, object] | None, *, private: bool) -> None:
    total = human_size(sum(publication.sizes.values()))
    who = "only you and those you invite can see it" if private else "everybody can see it"
    console.info(
        f"{publication.folder} → {publication.repository} ({total}; {who})"
        + (f"; last pushed as commit {last['commit']}" if last else "")
    )
    for line in changes(publication, last):
        console.info(f"  {line}")

"""A SkyPilot task for one training."""

from __future__ import annotations

import json

from sftplay.host.cluster.job import STOPPED, ClusterJob, CommentedTemplate

_TEXT = """\
# The training %{run} as a SkyPilot task, written by: %{command}
# Start it: sky jobs launch FILE
name: %{name}
# The project's folder is copied to the machine; outputs/ stays there, so copy it back or mount a
# volume (file locks and renames have to work on it: an object store will not do).
workdir: .
num_nodes: %{nodes}
resources:
%{accelerators}  cpus: %{cpus}+
  memory: %{memory}+  # GB
  # %{stopped}: stopped with a checkpoint. Started again (SkyPilot sets no limit); other codes are final.
  job_recovery:
    max_restarts_on_errors: 0
    recover_on_exit_codes: [%{stopped}]
# The locked environment and not the image: SkyPilot requires root and ssh inside of an image.
setup: python3 tasks.py install
run: |
  # A run that has begun continues from its newest checkpoint.
  more=()
  if [ -e outputs/%{run}/backend.json ]; then more=(--resume); fi
  exec %{line} --runner local%{ranks} "${more[@]}"
"""
_RANKS = (
    ' \\\n    --nodes "$SKYPILOT_NUM_NODES" --node-rank "$SKYPILOT_NODE_RANK"'
    ' \\\n    --rendezvous "$(echo "$SKYPILOT_NODE_IPS" | head -n 1):%{port}"'
)


def sky_task(job: ClusterJob, accelerator: str, port: int) -> str:
    """Return the task as YAML.

    Args:
        accelerator: SkyPilot's name of the GPU, for example L4.
    """
    gpus = json.dumps(f"{accelerator}:{job.gpus}")
    return CommentedTemplate(_TEXT).substitute(
        run=job.run,
        command=job.command,
        name=json.dumps(job.name),
        nodes=job.nodes,
        accelerators=f"  accelerators: {gpus}\n" if job.gpus else "",
        cpus=job.cpus,
        memory=job.memory.removesuffix("G"),
        stopped=STOPPED,
        line=job.line("python3", "tasks.py"),
        ranks=CommentedTemplate(_RANKS).substitute(port=port) if job.nodes > 1 else "",
    )

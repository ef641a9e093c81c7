"""A Slurm batch script for one training."""

from __future__ import annotations

import shlex

from sftplay.host.cluster.job import HANDED_OVER, RESTARTS, STOPPED, ClusterJob, CommentedTemplate

_HEAD = """\
#!/bin/bash
# The training %{run} as a Slurm job, written by: %{command}
# Submit it: sbatch FILE     Stop it with a checkpoint: scancel --signal=TERM JOB
#
# The project's folder, at this path on every node (shared storage).
#SBATCH --chdir=%{project}
#SBATCH --job-name=%{name}
# A requeued job continues its log instead of emptying it.
#SBATCH --output=outputs/slurm-%{name}-%%j.log
#SBATCH --open-mode=append
#SBATCH --requeue
# One launcher a node; it starts a process for each GPU of the node itself.
#SBATCH --nodes=%{nodes}
#SBATCH --ntasks-per-node=1
%{gpus}#SBATCH --cpus-per-task=%{cpus}
#SBATCH --mem=%{memory}
#SBATCH --time=%{time}
# Five minutes before the limit: the training saves a checkpoint and ends with %{stopped}.
#SBATCH --signal=TERM@300
set -u

# For inv ps, inv status and inv stop, on any machine that sees this folder.
export SFTPLAY_JOB="slurm $SLURM_JOB_ID" SFTPLAY_NODE="$SLURMD_NODENAME"

# A job that was requeued, or a run that has begun, continues from its newest checkpoint.
more=()
if [ -e %{stamp} ]%{again}; then more=(--resume); fi
"""

_ONE_NODE = """
# The launcher sees the whole training through: missing environment, data, hand-over to BitsAndBytes.
srun --kill-on-bad-exit=1 %{line} --runner local "${more[@]}"
code=$?
"""

_NODES = """
# Every node starts the same line with its own number; they meet at the first one's address.
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
address=$(scontrol show node "$first" | sed -n 's/.*NodeAddr=\\([^ ]*\\).*/\\1/p')
export RENDEZVOUS="${address:-$first}:$((20000 + SLURM_JOB_ID %% 10000))"
node() {
  %{line} --runner local \\
    --nodes "$SLURM_NNODES" --node-rank "$SLURM_PROCID" --rendezvous "$RENDEZVOUS" "$@"
}
export -f node
srun --kill-on-bad-exit=1 bash -c 'node "$@"' node "${more[@]}"
code=$?
# srun returns the largest code of its tasks; the job's own is in the record of its first node.
record=$(ls -t outputs/%{run}/attempts/*/ranks/result.json 2>/dev/null | head -n 1)
if [ -n "$record" ]; then code=$(sed -n 's/.*"code": *\\([0-9]*\\).*/\\1/p' "$record" | head -n 1); fi
"""

_PYXIS = """
# In the image, by pyxis; an absolute path, since a relative one is taken for a registry's name.
# Make it once: enroot import -o %{image} 'docker://%{reference}'
# Nothing fetches or prepares there: inv fetch, on a machine with network, comes before.
in_image() {
  srun --kill-on-bad-exit=1 --container-image="$1" --container-workdir=/sft --no-container-mount-home \\
    --container-mounts="$PWD/data:/sft/data,$PWD/outputs:/sft/outputs,$PWD/configs:/sft/configs:ro,${SFTPLAY_CACHE:-$HOME/.cache/sftplay}:/cache" \\
    --container-env=SFTPLAY_CACHE env SFTPLAY_CACHE=/cache HF_HUB_OFFLINE=1 "${@:2}"
}
in_image %{image} %{line} "${more[@]}"
code=$?
"""

_PYXIS_HANDED = """\
# %{handed}: Unsloth could not run; the same training goes to BitsAndBytes.
if [ "$code" -eq %{handed} ]; then
  attempt=$(basename "$(ls -d outputs/%{run}/attempts/*-unsloth | tail -n 1)")
  in_image %{second} %{line} --handed-over-from "$attempt"
  code=$?
fi
"""

_TAIL = """
# %{stopped}: stopped with a checkpoint. Requeued, at most %{restarts} times; other codes are final (docs/troubleshooting.md).
if [ "$code" -eq %{stopped} ] && [ "${SLURM_RESTART_COUNT:-0}" -lt %{restarts} ]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
"""


def slurm_script(job: ClusterJob, *, image: str = "", second: str = "", reference: str = "") -> str:
    """Return the script.

    Args:
        image: absolute path of a squashed image, for a cluster with pyxis; else the locked
            environment on the shared folder is used. second: BitsAndBytes' image, to which Unsloth
            hands over. reference: name by digest that `image` is imported from.
    """
    values = {
        **{"run": job.run, "command": job.command, "project": job.project, "name": job.name},
        **{"nodes": job.nodes, "cpus": job.cpus, "memory": job.memory, "time": job.time},
        "gpus": f"#SBATCH --gpus-per-node={job.gpus}\n" if job.gpus else "",
        "stamp": f"outputs/{job.run}/backend.json",
        "again": "" if job.continues else ' && [ "${SLURM_RESTART_COUNT:-0}" -gt 0 ]',
        **{"stopped": STOPPED, "handed": HANDED_OVER, "restarts": RESTARTS},
        **{"image": shlex.quote(image), "second": shlex.quote(second), "reference": reference},
    }
    if image:
        values["line"] = job.line("python", "-m", "sftplay")
        handed = _PYXIS_HANDED if second else ""
        body = _PYXIS + handed
    else:
        values["line"] = job.line("python3", "tasks.py")
        body = _ONE_NODE if job.nodes == 1 else _NODES
    return CommentedTemplate(_HEAD + body + _TAIL).substitute(values)

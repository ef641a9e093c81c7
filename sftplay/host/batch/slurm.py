"""Slurm as an engine of batches: one array job, an element for each experiment.

An element runs the line that a person would type. Its job's name holds batch and submission, so a
driver that was killed at any moment finds what it submitted by asking Slurm.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from sftplay import console
from sftplay.errors import MachineError
from sftplay.files import hash_bytes, write_text
from sftplay.host.batch.engines import JobEnd
from sftplay.host.cluster.job import RESTARTS, STOPPED, CommentedTemplate
from sftplay.host.system.checkout import PROJECT

_LARGEST = 1000  # elements of an array; Slurm's own limit is 1001 where nobody changed it
_SILENCE = 300  # seconds for which the controller may not answer
_NAMES = re.compile(r"^(\d{3})\.names$")

_SCRIPT = """\
#!/bin/bash
# The experiments of a batch as an array job, submitted by: inv batch --engine slurm
#SBATCH --chdir=%{project}
#SBATCH --job-name=%{name}
#SBATCH --array=0-%{last}
#SBATCH --output=%{folder}/%%a.log
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
%{gpus}# Five minutes before the limit: the training saves a checkpoint and ends with %{stopped}.
#SBATCH --signal=TERM@300
set -u
experiment=$(sed -n "$((SLURM_ARRAY_TASK_ID + 1))p" %{names})
export SFTPLAY_JOB="slurm ${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}" SFTPLAY_NODE="$SLURMD_NODENAME"
srun --kill-on-bad-exit=1 %{line} --only "$experiment"
code=$?
printf '{"code": %%d, "where": "%%s on %%s"}\\n' "$code" "$SFTPLAY_JOB" "$SFTPLAY_NODE" >"%{ends}/.tmp-$experiment"
mv "%{ends}/.tmp-$experiment" "%{ends}/$experiment.json"
if [ "$code" -eq %{stopped} ] && [ "${SLURM_RESTART_COUNT:-0}" -lt %{restarts} ]; then
  scontrol requeue "${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}"
fi
exit "$code"
"""


class SlurmEngine:
    """The queue of a Slurm cluster.

    Args:
        folder: of the batch; argv: the batch's command line, without the experiment.
        gpus: for each experiment. options: more words for sbatch.
    """

    restarts = 0  # a job that somebody cancelled stays cancelled

    def __init__(
        self, folder: Path, argv: Sequence[str], *, gpus: int = 0, options: Sequence[str] = ()
    ) -> None:
        missing = [name for name in ("sbatch", "squeue", "scancel") if shutil.which(name) is None]
        if missing:
            raise MachineError(
                f"this machine has no {missing[0]}", todo="start the batch on a login node of Slurm"
            )
        self.folder, self.argv, self.gpus, self.options = (
            folder / "slurm",
            list(argv),
            gpus,
            options,
        )
        place = hash_bytes(str((PROJECT / folder).absolute()).encode()).removeprefix("sha256:")[:8]
        self.prefix = f"sftplay-{folder.name.removeprefix('batch-')}-{place}"
        self._open: set[str] = set()
        self._answered = time.monotonic()

    def known(self) -> set[str]:
        """Experiments that an earlier driver submitted, and that have not ended."""
        self._open = self._queued()
        return set(self._open)

    def submit(self, names: Sequence[str]) -> None:
        """Submit an array job for them, several for more than a thousand."""
        for begin in range(0, len(names), _LARGEST):
            self._submit(names[begin : begin + _LARGEST])

    def ends(self) -> list[JobEnd]:
        """Elements that have left the queue since the last call."""
        if not self._open:
            return []
        try:
            left = self._queued()
        except MachineError:
            if time.monotonic() - self._answered > _SILENCE:
                raise
            return []
        self._answered = time.monotonic()
        ended, self._open = self._open - left, self._open & left
        return [self._read_end(name) for name in sorted(ended)]

    def cancel(self) -> None:
        """Remove elements that wait; those that run continue."""
        for name in self._submissions():
            self._ask("scancel", "--state=PENDING", f"--name={name}")

    def how_to_stop(self) -> str:
        """Return the command that stops the jobs with a checkpoint each."""
        return "scancel --signal=TERM --name=" + ",".join(self._submissions())

    def words(self) -> tuple[str, ...]:
        """Return the options that choose this engine."""
        return ("--engine", "slurm")

    def _submit(self, names: Sequence[str]) -> None:
        number = len(self._submissions()) + 1
        name, folder = f"{self.prefix}-{number:03d}", self.folder / f"{number:03d}"
        ends = self.folder / "ends"
        for made in (folder, ends):
            made.mkdir(parents=True, exist_ok=True)
        for one in names:
            (ends / f"{one}.json").unlink(missing_ok=True)
        script = CommentedTemplate(_SCRIPT).substitute(
            project=PROJECT,
            name=name,
            last=len(names) - 1,
            folder=folder,
            gpus=f"#SBATCH --gpus-per-node={self.gpus}\n" if self.gpus else "",
            names=shlex.quote(str(folder) + ".names"),
            line=shlex.join(["python3", "tasks.py", *self.argv]),
            ends=ends,
            stopped=STOPPED,
            restarts=RESTARTS,
        )
        write_text(folder.with_suffix(".sh"), script)
        # Before the submission: a driver that is killed in between asks Slurm for this name.
        write_text(folder.with_suffix(".names"), "".join(f"{one}\n" for one in names))
        said = self._ask("sbatch", "--parsable", *self.options, str(folder.with_suffix(".sh")))
        self._open |= set(names)
        console.info(f"{len(names)} experiments are in Slurm's queue: job {said.strip()}")

    def _submissions(self) -> list[str]:
        numbers = sorted(
            match[1]
            for path in self.folder.glob("*.names")
            if (match := _NAMES.match(path.name)) is not None
        )
        return [f"{self.prefix}-{number}" for number in numbers]

    def _queued(self) -> set[str]:
        """Experiments of this batch that wait or run now."""
        names = self._submissions()
        if not names:
            return set()
        found = set()
        lines = self._ask("squeue", "-h", "-r", "-o", "%j %K", "-n", ",".join(names)).splitlines()
        lists: dict[str, list[str]] = {}
        for line in lines:
            name, _, element = line.partition(" ")
            path = self.folder / f"{name[-3:]}.names"
            experiments = lists.setdefault(name, path.read_text(encoding="utf-8").splitlines())
            found.add(experiments[int(element)])
        return found

    def _read_end(self, name: str) -> JobEnd:
        try:
            value = json.loads((self.folder / "ends" / f"{name}.json").read_bytes())
            return JobEnd(name, int(value["code"]), str(value["where"]))
        except (OSError, ValueError, KeyError, TypeError):
            return JobEnd(name, None, "slurm")

    def _ask(self, *argv: str) -> str:
        try:
            done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
        except subprocess.TimeoutExpired:
            raise MachineError(
                f"{argv[0]} does not answer", todo="sinfo shows the cluster"
            ) from None
        if done.returncode:
            raise MachineError(
                f"{argv[0]} refused: {done.stderr.strip()}", todo="sinfo shows the cluster; --submit adds words for sbatch"
            )  # fmt: skip
        return done.stdout

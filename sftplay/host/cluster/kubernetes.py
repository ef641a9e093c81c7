"""A Kubernetes Job for one training: plain manifests, nothing to install in the cluster."""

from __future__ import annotations

import json
from datetime import timedelta

from sftplay.host.cluster.job import FINAL, PORT, RESTARTS, STOPPED, ClusterJob, CommentedTemplate
from sftplay.host.containers.spec import SHM_SIZE
from sftplay.host.containers.variables import ENVIRONMENT
from sftplay.host.protocol.hub import OFFLINE
from sftplay.host.protocol.signals import GRACE

USER = 1000  # of the processes, and the group of the files on the volume

_SERVICE = """\
---
# Gives every pod a name: the nodes find the first one by it, before it is ready.
apiVersion: v1
kind: Service
metadata:
  name: %{name}
spec:
  clusterIP: None
  publishNotReadyAddresses: true
  selector: {job-name: %{name}}
  ports: [{name: rendezvous, port: %{port}}]
"""

_JOB = """\
---
apiVersion: batch/v1
kind: Job
metadata:
  name: %{name}
  labels: {app.kubernetes.io/name: sftplay, sftplay/run: %{label}}
spec:
  # A pod for each node; its index is the node's number.
  completionMode: Indexed
  completions: %{nodes}
  parallelism: %{nodes}
  # %{stopped} (stopped with a checkpoint) and lost nodes start the pod again, which then resumes.
  backoffLimit: %{restarts}
  activeDeadlineSeconds: %{seconds}
  podFailurePolicy:
    rules:
      # A node that is drained or preempted is nobody's fault and does not count.
      - action: Ignore
        onPodConditions: [{type: DisruptionTarget}]
      # Another try would end the same way: data, files, config, refusals, wrong numbers.
      - action: FailJob
        onExitCodes: {containerName: train, operator: In, values: %{final}}
  template:
    metadata:
      labels: {app.kubernetes.io/name: sftplay, sftplay/run: %{label}}
    spec:
      restartPolicy: Never
      subdomain: %{name}
      # Nothing in the pod talks to the cluster.
      automountServiceAccountToken: false
      enableServiceLinks: false
      # As long as `inv` gives a container for its checkpoint.
      terminationGracePeriodSeconds: %{grace}
      securityContext:
        runAsNonRoot: true
        runAsUser: %{user}
        runAsGroup: %{user}
        fsGroup: %{user}
        fsGroupChangePolicy: OnRootMismatch
        seccompProfile: {type: RuntimeDefault}
      containers:
        - name: train
          # By digest: every pod of today and of a restart next week runs the same image.
          image: %{image}
          workingDir: /sft
          command: [/bin/sh, -c]
          args:
            - |
              # A run that has begun continues from its newest checkpoint.
              %{more_words}
              exec %{line}%{ranks} "$@"
          env:
%{environment}
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities: {drop: [ALL]}
          resources:
            requests: {cpu: "%{cpus}", memory: %{memory}%{gpus}}
            limits: {memory: %{memory}%{gpus}}
          volumeMounts:
            - {name: project, mountPath: /sft/data, subPath: data}
            - {name: project, mountPath: /sft/outputs, subPath: outputs}
            - {name: project, mountPath: /sft/configs, subPath: configs, readOnly: true}
            - {name: project, mountPath: /cache, subPath: cache}
            - {name: tmp, mountPath: /tmp}
            - {name: shm, mountPath: /dev/shm}
      volumes:
        # The project's folder with the model cache: fetch once, as `inv fetch` does, into cache/.
        # With several nodes it has to be a ReadWriteMany volume whose locks reach across nodes.
        - name: project
          persistentVolumeClaim: {claimName: %{claim}}
        - name: tmp
          emptyDir: {sizeLimit: 4Gi}
        # The default of 64 MiB ends data loaders and collectives with SIGBUS.
        - name: shm
          emptyDir: {medium: Memory, sizeLimit: %{shm}}
"""

_RANKS = (
    ' \\\n                --nodes %{nodes} --node-rank "$JOB_COMPLETION_INDEX"'
    " --rendezvous %{name}-0.%{name}:%{port}"
)


def kubernetes_manifest(job: ClusterJob, image: str, *, claim: str, second: str = "") -> str:
    """Return the manifests as YAML: a Job, and a Service where there are several nodes.

    Args:
        image: the stack's image by digest. claim: the volume claim that holds the project.
        second: file with the manifest that takes over after a 79; empty where none can come.
    """
    after = ""
    if second:
        after = f"# After a 79 (Unsloth could not run here) BitsAndBytes takes over: kubectl apply -f {second}\n"
    begun = f"[ -e outputs/{job.run}/backend.json ]"
    return _manifest(job, job.name, image, claim, after, f"if {begun}; then set -- --resume; fi")


def takeover_manifest(job: ClusterJob, image: str, *, claim: str) -> str:
    """Return the manifest that trains in BitsAndBytes what Unsloth handed over."""
    attempts = f"outputs/{job.run}/attempts"
    handed = f'"$(basename "$(ls -d {attempts}/*-unsloth | tail -n 1)")"'
    choose = (
        f"if ls -d {attempts}/*-bnb >/dev/null 2>&1; then set -- --resume;"
        f" else set -- --handed-over-from {handed}; fi"
    )
    return _manifest(job, f"{job.name}-bnb", image, claim, "", choose)


def _manifest(
    job: ClusterJob, name: str, image: str, claim: str, after: str, more_words: str
) -> str:
    head = f"# The training {job.run} as a Kubernetes Job, written by: {job.command}\n"
    head += f"# Start it: kubectl apply -f FILE     Follow it: kubectl logs -f job/{name}\n{after}"
    service = _SERVICE if job.nodes > 1 else ""
    values = {**_values(job, name, image), "claim": claim, "more_words": more_words}
    return head + CommentedTemplate(service + _JOB).substitute(values)


def _values(job: ClusterJob, name: str, image: str) -> dict[str, str | int]:
    ranks = ""
    if job.nodes > 1:
        ranks = CommentedTemplate(_RANKS).substitute(nodes=job.nodes, name=name, port=PORT)
    gpus = f', nvidia.com/gpu: "{job.gpus}"' if job.gpus else ""
    environment = {
        **ENVIRONMENT,
        **dict.fromkeys(OFFLINE, "1"),
        "SFTPLAY_DEVICE": "cuda" if job.gpus else "cpu",
        "SFTPLAY_IMAGE_DIGEST": image.partition("@")[2],
        "OMP_NUM_THREADS": str(job.cpus),
    }
    return {
        **{"name": name, "label": json.dumps(job.run), "image": image},
        **{"nodes": job.nodes, "cpus": job.cpus, "memory": f"{job.memory}i", "gpus": gpus},
        **{"port": PORT, "stopped": STOPPED, "restarts": RESTARTS, "final": json.dumps(FINAL)},
        **{"grace": GRACE, "user": USER, "shm": f"{SHM_SIZE >> 30}Gi"},
        "seconds": int(_duration(job.time).total_seconds()),
        "line": job.line("python", "-m", "sftplay"),
        "ranks": ranks,
        "environment": "\n".join(
            f"            - {{name: {key}, value: {json.dumps(value)}}}"
            for key, value in environment.items()
        ),
    }


def _duration(time: str) -> timedelta:
    days, _, clock = time.rpartition("-")
    hours, minutes, seconds = (int(part) for part in clock.split(":"))
    return timedelta(days=int(days or 0), hours=hours, minutes=minutes, seconds=seconds)

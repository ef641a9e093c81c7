"""The menu: which tasks there are, in the order in which a person needs them."""

from __future__ import annotations

from invoke.collection import Collection
from invoke.context import Context

from sftplay.host.cli.task import port_number, task
from sftplay.host.cli.tasks import cluster, developers, gpu, images, runs, stages, start


@task(name="help", anywhere=True)
def help_(c: Context) -> None:
    """Show all tasks, in the order in which a person needs them."""
    from sftplay.host.cli import guide

    guide.show(MENU)


@task(
    developer=True,
    help={"build-only": "build into site/ and stop", "port": "port on 127.0.0.1 (default: 8000)"},
)
def docs(c: Context, build_only: bool = False, port: str | None = None) -> int:
    """Build the documentation and serve it on 127.0.0.1 (developers)."""
    from sftplay.host.dev import docs as documentation

    return documentation.run(
        MENU, namespace, build_only=build_only, port=port_number("--port", port)
    )


MENU = {
    "Start here": (
        help_,
        start.init,
        start.quickstart,
        start.doctor,
        start.install,
        start.setup_dirs,
        start.check,
    ),
    "Data": (stages.process, stages.style, stages.render, stages.full_pipeline, stages.tokenize),
    "Model": (
        *(stages.fetch, stages.train, stages.train_bnb, stages.train_bnb_tb),
        *(stages.train_unsloth, stages.train_unsloth_tb),
        *(stages.evaluate, stages.eval_test, stages.eval_quick, stages.eval_full),
        *(stages.infer, stages.infer_interactive, stages.infer_batch),
        *(stages.serve, runs.stop_serve, stages.merge, stages.export, runs.push),
    ),
    "Many runs": (runs.batch, runs.report, runs.replay, runs.status, runs.logs),
    "Around it": (
        *(runs.tensorboard, runs.stop_tb, runs.trackio, runs.stop_trackio),
        *(runs.ps, runs.stop, start.clean),
    ),
    "Developers": (
        *(developers.test, developers.lint, developers.audit, docs, developers.bench),
        developers.parity,
    ),
}


def build() -> Collection:
    """Return every task under its name, `help` where none is named."""
    namespace = Collection(*(entry for group in MENU.values() for entry in group))
    namespace.default = "help"
    namespace.add_collection(Collection("config", developers.schema, developers.show))
    namespace.add_collection(Collection("data", stages.data_show, stages.data_preview))
    namespace.add_collection(Collection("gpu", gpu.gpu_accept, gpu.gpu_compare))
    image = (
        images.image_build,
        images.image_check,
        images.image_verify,
        images.image_push,
        images.image_pull,
    )
    more = (images.image_ls, images.image_prune, images.image_sbom, images.lock)
    namespace.add_collection(Collection("image", *image, *more))
    namespace.add_collection(Collection("launch", cluster.slurm, cluster.k8s, cluster.sky))
    namespace.add_collection(Collection("ray", cluster.ray_agent))
    of_runs = Collection("runs", runs.runs_show, runs.runs_compare, runs.runs_rm)
    of_runs.add_task(runs.runs_list, default=True)  # `inv runs`
    namespace.add_collection(of_runs)
    return namespace


namespace = build()

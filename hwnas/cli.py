"""The command line: one subcommand per stage, `bundle`, `device`, and those of `hwnas table`."""

import importlib
import inspect
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.table import Column, Table

from hwnas import __version__
from hwnas.errors import UserError
from hwnas.objective import LOSSES, REWARDS
from hwnas.stages.config import DEFAULT_QAT_EPOCHS, OBJECTIVES, defaults
from hwnas.stages.progress import interruptible, speaks
from hwnas.storage import exclusive
from hwnas.table_commands import table_app

if TYPE_CHECKING:
    from hwnas.stages.run import Run

STAGES = {
    "generate": "Everything below, in order; run it again to continue after an interruption.",
    "plan": "How many operators the space needs, how many are measured, how long measuring the rest will take.",
    "profile": "Measure the operators that the latency table lacks.",
    "fit": "Calibrate the latency predictor on a few measured whole networks.",
    "feasible": "Compare the budget with the space before anything is trained.",
    "search": "Train the super-network by a method; candidates under the budget. Does first what is missing above.",
    "select": "Measure the best candidates whole; choose the winner and its baselines.",
    "train": "Train the winner and its baselines from scratch.",
    "export": "Write ONNX and TFLite in several precisions, checked; of the run's winner, or of any --model.",
    "measure": "Measure the exported model on the device.",
    "trust": "Check the search: against random draws, for collapse, and its ranking by networks trained from scratch.",
    "report": "Write report.html.",
}
SHARED_STAGES = ("search", "train")  # those that several processes may share
FIRST_STAGES = ("generate", "plan", "profile", "search")  # those that may begin a run
DEFAULT_OUT = Path("runs/default")
PATIENCE_S = 5.0  # torchrun looks every 0.1 s; processes begin a second or two apart
Options = dict[str, Any]
app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)


def _stage_options(
    out: Annotated[Path, typer.Option(help="The run directory.")] = DEFAULT_OUT,
    data: Annotated[str | None, typer.Option(help="digits, a folder, a torchvision name, or a .npz.")] = None,
    data_root: Annotated[str | None, typer.Option(help="Where torchvision data sets are.")] = None,
    skip_broken: Annotated[bool | None, typer.Option(help="Leave out images that cannot be read.")] = None,
    on: Annotated[str | None, typer.Option(help="Profile of the device: a name in profiles/ or a path.")] = None,
    budget_ms: Annotated[float | None, typer.Option(help="Latency budget.")] = None,
    budget_of_median: Annotated[float | None, typer.Option(help="Budget as a share of the median network.")] = None,
    budget_use: Annotated[float | None, typer.Option(help="Least share of the budget that candidates use.")] = None,
    max_file_mb: Annotated[float | None, typer.Option(help="Most megabytes of the model file.")] = None,
    max_peak_memory_mb: Annotated[float | None, typer.Option(help="Most megabytes of memory while it runs.")] = None,
    max_million_macs: Annotated[float | None, typer.Option(help="Most multiply-adds, in millions.")] = None,
    max_million_params: Annotated[float | None, typer.Option(help="Most parameters, in millions.")] = None,
    cost_table: Annotated[str | None, typer.Option(help="CSV of what each operator costs: energy, ...")] = None,
    max_cost: Annotated[float | None, typer.Option(help="Most of that, summed over the network.")] = None,
    confidence: Annotated[float | None, typer.Option(help="Probability with which candidates keep the budget.")] = None,
    space: Annotated[str | None, typer.Option(help="Search space: a name of `hwnas spaces`, or a YAML file.")] = None,
    resolution: Annotated[int | None, typer.Option(help="Side of the network's input in pixels.")] = None,
    width_mult: Annotated[float | None, typer.Option(help="Multiplies all channel numbers.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of everything random.")] = None,
    table: Annotated[str | None, typer.Option(help="Latency table to use and extend, or none.")] = None,
    interpolate: Annotated[bool | None, typer.Option(help="Guess rows that the table lacks.")] = None,
    calibration_networks: Annotated[int | None, typer.Option(help="Whole networks to calibrate on.")] = None,
    method: Annotated[str | None, typer.Option(help="Of search; `hwnas methods` lists them.")] = None,
    reward: Annotated[str | None, typer.Option(help=f"What a candidate is worth: {', '.join(REWARDS)}.")] = None,
    objective: Annotated[str | None, typer.Option(help=f"What the reward is of: {', '.join(OBJECTIVES)}.")] = None,
    latency_loss: Annotated[str | None, typer.Option(help=f"Of trained probabilities: {', '.join(LOSSES)}.")] = None,
    latency_weight: Annotated[float | None, typer.Option(help="Of the latency in a sum with the loss.")] = None,
    latency_exponent: Annotated[float | None, typer.Option(help="Of the latency in a product with it.")] = None,
    supernet_epochs: Annotated[int | None, typer.Option(help="Epochs of the super-network.")] = None,
    supernet_lr: Annotated[float | None, typer.Option(help="Its learning rate, per 128 images.")] = None,
    population: Annotated[int | None, typer.Option(help="Architectures per generation.")] = None,
    generations: Annotated[int | None, typer.Option(help="Generations of the evolution.")] = None,
    recalibration_batches: Annotated[int | None, typer.Option(help="Batches of 128 for batch norm.")] = None,
    tie_share: Annotated[
        float | None,
        typer.Option(help="Of the spread of random candidates' likelihoods: so far apart are as good; 0: none are."),
    ] = None,
    finalists: Annotated[
        int | None, typer.Option(help="Best candidates, and as many random ones, to train and choose by; 1: none.")
    ] = None,
    robust: Annotated[bool | None, typer.Option(help="Rank candidates by corrupted images as well.")] = None,
    baselines: Annotated[str | None, typer.Option(help="Published networks to compare with, or none.")] = None,
    train_epochs: Annotated[int | None, typer.Option(help="Epochs of the winner and the baselines.")] = None,
    optimizer: Annotated[str | None, typer.Option(help="sgd or adamw.")] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate, per 128 images.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images a step.")] = None,
    precision: Annotated[str | None, typer.Option(help="Of training: auto, fp32 or bf16; auto is safe.")] = None,
    attempts: Annotated[int | None, typer.Option(help="Candidates to try when one misses the budget.")] = None,
    checkpoint_every_s: Annotated[float | None, typer.Option(help="Seconds of training that a crash may cost.")] = None,
    processes_may_change: Annotated[bool | None, typer.Option(help="Go on with more or fewer processes.")] = None,
    rank_networks: Annotated[
        int | None, typer.Option(help="Networks that trust trains, to be ranked; 0: none.")
    ] = None,
    rank_epochs: Annotated[int | None, typer.Option(help="Epochs of each of these.")] = None,
    rank_trainings: Annotated[int | None, typer.Option(help="Times that each is trained, by other seeds.")] = None,
) -> None:
    """The options that all stages share: the signature of every stage command."""


def _export_options(
    precisions: Annotated[str | None, typer.Option(help="fp32, fp16, int8, int8_float_io, dynamic.")] = None,
    formats: Annotated[str | None, typer.Option(help="tflite, onnx; with their extras executorch, coreml.")] = None,
    max_drop: Annotated[float, typer.Option(help="Points of accuracy that less precision may cost.")] = 1.0,
    qat_epochs: Annotated[
        int, typer.Option(help="Of fine-tuning where int8 costs more; 0: none.")
    ] = DEFAULT_QAT_EPOCHS,
    images: Annotated[int, typer.Option(help="Images of the test part to check on.")] = 500,
    check_on: Annotated[str | None, typer.Option(help="Arm processors to emulate and check on, or all.")] = None,
    licence: Annotated[str, typer.Option(help="Of the weights; for the model card.")] = "",
    model: Annotated[str | None, typer.Option(help="torchvision:NAME, timm:NAME or FILE.py:FUNCTION.")] = None,
    weights: Annotated[
        str | None, typer.Option("--weights", "--checkpoint", help="Its .pt or .npz, or none for random ones.")
    ] = None,
    labels: Annotated[Path | None, typer.Option(help="A class a line, in the order of its outputs.")] = None,
) -> None:
    """What `hwnas export` has beside the options of all stages."""


def _show_defaults() -> None:
    """Puts every option's default into its help. The parameters' own is None: not given."""
    shown = defaults()
    for name, parameter in inspect.signature(_stage_options).parameters.items():
        if name in shown:
            (information,) = parameter.annotation.__metadata__
            information.show_default = shown[name]


_show_defaults()


def _run_stage(stage: str, module: ModuleType, run: "Run") -> None:
    if stage == "generate":
        module.run_stage(run)
        return
    if stage == "search" and importlib.import_module("hwnas.ranks").started() == 1:
        importlib.import_module("hwnas.stages.prepare").run_missing(run)
    with run.stage(stage):
        module.run_stage(run)


def _stage_command(stage: str) -> Callable[..., None]:
    """A command that runs one stage in the run directory, held for this process."""

    def command(out: Path, **options: Any) -> None:
        given = {name: value for name, value in options.items() if value is not None}
        module = importlib.import_module(f"hwnas.stages.{stage}")  # only now: --help must not wait for torch
        run_module = importlib.import_module("hwnas.stages.run")
        ranks = importlib.import_module("hwnas.ranks")
        if ranks.started() > 1 and stage not in SHARED_STAGES:
            raise UserError(f"`hwnas {stage}` is for one process; torchrun is for {' and '.join(SHARED_STAGES)}")
        with interruptible(), ranks.joined():
            run_module.check_place(out, given, may_begin=stage in FIRST_STAGES)
            with exclusive(out) if ranks.is_first() else nullcontext():
                with ranks.first_alone():
                    run = run_module.open_run(out, given)
                _run_stage(stage, module, run)

    command.__signature__ = inspect.signature(_stage_options)  # type: ignore[attr-defined]
    command.__annotations__ = _stage_options.__annotations__
    command.__doc__ = STAGES[stage]
    return command


def _export(out: Path, **options: Any) -> None:
    own = {name: options.pop(name) for name in inspect.signature(_export_options).parameters}
    given = {name: value for name, value in options.items() if value is not None}
    shipping = importlib.import_module("hwnas.stages.shipping")
    choices = shipping.choices_of(
        *(own[name] for name in ("precisions", "formats", "max_drop", "images", "licence", "qat_epochs", "check_on"))
    )
    if own["model"] is None and (own["weights"] or own["labels"]):
        raise UserError("--weights and --labels belong to --model, which is missing")
    if own["model"] is not None:
        module = importlib.import_module("hwnas.stages.export_model")
        model = module.model_options(given, own["model"], own["weights"], own["labels"])
        with exclusive(out), interruptible():
            module.run_model(out, model, choices)
        return
    run_module, module = (importlib.import_module(f"hwnas.stages.{name}") for name in ("run", "export"))
    run_module.check_place(out, given, may_begin=False)
    with exclusive(out), interruptible():
        run = run_module.open_run(out, given)
        with run.stage("export"):
            module.run_stage(run, choices)


def _export_command() -> Callable[..., None]:
    """The stage with options of its own."""
    stage, own = inspect.signature(_stage_options), inspect.signature(_export_options)
    _export.__signature__ = stage.replace(  # type: ignore[attr-defined]
        parameters=[*stage.parameters.values(), *own.parameters.values()]
    )
    _export.__annotations__ = {**_stage_options.__annotations__, **_export_options.__annotations__}
    _export.__doc__ = STAGES["export"]
    return _export


for _stage in STAGES:
    app.command(_stage)(_export_command() if _stage == "export" else _stage_command(_stage))
app.add_typer(table_app, name="table")


@app.command()
def bundle(
    out: Annotated[Path, typer.Option(help="The run directory, or the folder of an exported model.")],
    target: Annotated[str, typer.Option(help="linux, web, android, ios, or a folder with a target.yaml.")],
    to: Annotated[Path, typer.Option(help="The new folder.")],
    precision: Annotated[str | None, typer.Option(help="Which file to take.", show_default="the target's")] = None,
    files: Annotated[Path | None, typer.Option(help="A folder with the files that the kit needs.")] = None,
) -> None:
    """Fill a target's app kit with an exported model."""
    from hwnas.stages.bundle import run_bundle

    run_bundle(out, target, to, precision, files)


@app.command()
def spaces() -> None:
    """List the search spaces: how many networks, rows to profile, the smallest and the largest network."""
    from hwnas.spaces import DEFAULT_RESOLUTION, IMAGENET_RESOLUTION, SPACES, SpaceConfig, build_space, extremes, macs
    from hwnas.spaces.operators import is_free

    heads = ("pixels", "decisions", "networks", "rows to profile", "M MACs")
    table = Table(Column("space", no_wrap=True), *heads, box=None, pad_edge=False)  # names whole on 80 columns
    for name in SPACES:
        resolution = DEFAULT_RESOLUTION.get(name, IMAGENET_RESOLUTION)
        space = build_space(SpaceConfig(name, resolution, 1000))
        ends = "-".join(f"{macs(space.ops(arch)) / 1e6:.1f}" for arch in extremes(space))
        rows = sum(not is_free(spec) for spec in space.all_ops())
        table.add_row(name, str(resolution), str(len(space.decisions)), f"{space.size:.2e}", str(rows), ends)
    Console().print(table)


@app.command()
def methods() -> None:
    """List the search methods: what they cost, and when to take them."""
    from hwnas.search.methods import METHODS

    heads = ("cost of a weight step", "when to take it")
    table = Table(Column("method", no_wrap=True), *heads, box=None, pad_edge=False)
    for name, method in METHODS.items():
        table.add_row(name, method.cost, method.use)
    Console().print(table)
    for name, method in METHODS.items():
        typer.echo(f"{name}: {method.paper}")


@app.command()
def device(
    on: Annotated[str, typer.Option(help="Profile of the device: a name in profiles/ or a path.")],
) -> None:
    """See whether a profile's device can be measured: what it is, and how long a small network takes there."""
    from hwnas.stages.device import told

    for what, how in told(on):
        typer.echo(f"{what + ':':14}{how}")


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    """From images and a device to the most accurate mobile model within a latency budget."""
    if version:
        print(f"hwnas {__version__}")
        raise typer.Exit


def main() -> None:
    """Runs the command line; what a user can mend is one line on stderr and exit status 1."""
    try:
        app(prog_name="hwnas")
    except UserError as error:
        _end(f"hwnas: {error}")
    except OSError as error:
        if error.filename is None and error.errno is None:
            raise
        where = f" ({error.filename})" if error.filename else ""
        _end(f"hwnas: {error.strerror}{where}; {_advice(error)}")


def _end(line: str) -> NoReturn:
    """Exit status 1 and the line, once for all of torchrun's processes on this machine that find the same.

    The others give torchrun time to end them, which it does as soon as the first one has failed; a mistake that one of
    them is alone with, as a GPU too few, is told after that.
    """
    if not speaks():
        time.sleep(PATIENCE_S)
    sys.exit(line)


def _advice(error: OSError) -> str:
    if isinstance(error, FileExistsError | NotADirectoryError):
        return "a file is where a folder must be: choose another path"
    return "free space or permissions there, then run the same command again"


if __name__ == "__main__":
    main()

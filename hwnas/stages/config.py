"""The options of a run: their defaults, what is allowed, and until when they may change. No torch here."""

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_type_hints

from hwnas.errors import UserError
from hwnas.objective import ADAPTIVE, COST, HARD, HARD_ABOVE, LATENCY, LATENCY_LOSSES, LOSSES, NONE, REWARDS, named
from hwnas.search.methods import DEFAULT_EPOCHS, DEFAULT_METHOD, METHODS
from hwnas.search.ties import TIE_SHARE
from hwnas.spaces import PUBLISHED
from hwnas.storage import read_json

NO_TABLE = "none"  # of --table: operators are not measured, whole networks alone tell the latency
FEWEST_ALONE = 10  # of those, then; latency/learned.py refuses fewer
DEFAULT_QAT_EPOCHS = 8  # of an export, which is no option of a run
FEWEST_RANKED = 3  # networks of which an order says anything
DEFAULT_LR = {"sgd": 0.2, "adamw": 0.004}  # per 128 images; allowed optimizers are its keys
LIMITED = ("file_mb", "peak_memory_mb", "million_macs", "million_params")  # each by its --max-...
OBJECTIVES = (LATENCY, *(metric.replace("_", "-") for metric in LIMITED), COST)
PRECISIONS = ("auto", "fp32", "bf16")  # nn/compute.py knows what they mean

# The files that first follow from an option. Until one is there, nothing has come of the option and it may change.
SETTLED_BY: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("data", "data_root", "skip_broken", "resolution", "seed"), ("images/splits.json",)),
    **dict.fromkeys(("on", "space", "width_mult"), ("table.jsonl", "predictor.json")),  # the table may be another's
    **dict.fromkeys(("table", "interpolate", "calibration_networks"), ("predictor.json",)),
    **dict.fromkeys(
        (
            *("budget_ms", "budget_of_median", "budget_use", "confidence", "max_file_mb", "max_peak_memory_mb"),
            *("max_million_macs", "max_million_params", "cost_table", "max_cost"),
        ),
        ("feasible.json",),
    ),
    **dict.fromkeys(("method", "reward", "objective"), ("supernet.pt", "trials.jsonl")),
    **dict.fromkeys(
        (
            *("latency_loss", "latency_weight", "latency_exponent"),
            *("supernet_epochs", "batch_size", "optimizer"),
        ),
        ("supernet.pt",),
    ),
    "supernet_lr": ("trials.jsonl",),  # and not before: a training that diverged goes on with a lower one
    **dict.fromkeys(("population", "generations", "recalibration_batches", "robust"), ("trials.jsonl",)),
    "baselines": ("selection.json",),
    "train_epochs": ("train",),
    "lr": ("train.json",),
    "precision": ("compute.json",),
    # how to go on is asked each time
    **dict.fromkeys(("attempts", "checkpoint_every_s", "processes_may_change"), ()),
    **dict.fromkeys(("rank_networks", "rank_epochs", "rank_trainings"), ()),
    **dict.fromkeys(("finalists", "tie_share"), ("selection.json",)),
}


@dataclass(frozen=True)
class RunConfig:
    """Every option of a run."""

    data: str = "digits"
    data_root: str = "data"
    skip_broken: bool = False
    on: str = "host_cpu1_litert_fp32"
    budget_ms: float | None = None
    budget_of_median: float | None = None
    budget_use: float = 0.0
    max_file_mb: float | None = None
    max_peak_memory_mb: float | None = None
    max_million_macs: float | None = None
    max_million_params: float | None = None
    cost_table: str | None = None
    max_cost: float | None = None
    confidence: float = 0.9
    space: str = "proxyless_small"
    resolution: int = 32
    width_mult: float = 1.0
    seed: int = 0
    table: str | None = None
    interpolate: bool = False
    calibration_networks: int = 20
    method: str = DEFAULT_METHOD
    reward: str = HARD
    objective: str | None = None
    latency_loss: str = ADAPTIVE
    latency_weight: float | None = None
    latency_exponent: float | None = None
    supernet_epochs: int | None = None
    supernet_lr: float | None = None
    population: int = 50
    generations: int = 4
    recalibration_batches: int = 4
    tie_share: float = TIE_SHARE
    finalists: int = 1
    robust: bool = False
    baselines: str = "mobilenet_v2"
    train_epochs: int = 60
    optimizer: str = "sgd"
    lr: float | None = None
    batch_size: int = 32
    precision: str = "auto"
    attempts: int = 3
    checkpoint_every_s: float = 60.0
    processes_may_change: bool = False
    rank_networks: int = 5
    rank_epochs: int | None = None
    rank_trainings: int = 1

    def most(self, metric: str) -> float | None:
        """What is allowed of a metric of `footprint.METRICS` or `operator_costs.EXACT`; None: any."""
        assert metric in LIMITED
        most: float | None = getattr(self, f"max_{metric}")
        return most

    @property
    def objectives(self) -> tuple[str, ...]:
        """What `--objective` names, each once."""
        return named(self.objective)

    @property
    def has_table(self) -> bool:
        """Whether operators are measured one by one."""
        return self.table != NO_TABLE

    @property
    def published(self) -> tuple[str, ...]:
        """The published networks that the winner is compared with, by their keys in `spaces.PUBLISHED`."""
        return named(self.baselines)

    def check(self) -> None:
        """UserError for the first option that no run can have."""
        self._check_numbers()
        if not self.has_table and self.calibration_networks < FEWEST_ALONE:
            raise UserError(
                f"--table is {NO_TABLE} and --calibration-networks {self.calibration_networks}; without a table "
                f"allowed is {FEWEST_ALONE} or more, as they are all that the latency is learned from"
            )
        if self.method not in METHODS:
            raise UserError(f"--method is {self.method!r}; allowed are {', '.join(METHODS)}: see `hwnas methods`")
        if self.reward not in REWARDS:
            raise UserError(f"--reward is {self.reward!r}; allowed are {', '.join(REWARDS)}")
        if self.reward != HARD and not METHODS[self.method].asks_reward:
            askers = ", ".join(name for name, method in METHODS.items() if method.asks_reward)
            raise UserError(
                f"--reward is {self.reward}, but nothing in --method {self.method} asks what a network is worth; leave "
                f"it out, or take one of {askers}"
            )
        self._check_objectives()
        self._check_latency_loss()
        if self.optimizer not in DEFAULT_LR:
            raise UserError(f"--optimizer is {self.optimizer!r}; allowed are {' and '.join(DEFAULT_LR)}")
        if self.precision not in PRECISIONS:
            raise UserError(f"--precision is {self.precision!r}; allowed are {', '.join(PRECISIONS)}")
        for name in self.published:
            if name not in PUBLISHED:
                raise UserError(f"--baselines names {name!r}; allowed are {', '.join(PUBLISHED)}, by commas, or {NONE}")
        if 0 < self.rank_networks < FEWEST_RANKED:
            raise UserError(
                f"--rank-networks is {self.rank_networks}; allowed are 0, which measures no order, and {FEWEST_RANKED} "
                "or more"
            )
        if self.budget_ms is not None and self.budget_of_median is not None:
            raise UserError("--budget-ms and --budget-of-median both came; give one of them")
        if (self.cost_table is None) != (self.max_cost is None):
            raise UserError("--cost-table and --max-cost belong together: the costs, and the most that is allowed")

    def _check_numbers(self) -> None:
        for name, least in LEAST.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise UserError(f"{option(name)} is {value}; allowed is {least} or more")
        for name in (
            "budget_ms",
            "budget_of_median",
            "max_file_mb",
            "max_peak_memory_mb",
            "max_million_macs",
            "max_million_params",
            "max_cost",
            "lr",
            "supernet_lr",
            "latency_weight",
            "latency_exponent",
            "width_mult",
            "checkpoint_every_s",
        ):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise UserError(f"{option(name)} is {value}; allowed is a number above 0")
        if not 0 <= self.budget_use < 1:
            raise UserError(f"--budget-use is {self.budget_use}; allowed is a share of the budget from 0 to below 1")
        if not 0 <= self.tie_share < math.inf:
            raise UserError(f"--tie-share is {self.tie_share}; allowed is 0, by which the likeliest is taken, and more")
        if not 0 < self.confidence < 1:
            raise UserError(f"--confidence is {self.confidence}; allowed is a probability above 0 and below 1")

    def _check_objectives(self) -> None:
        allowed = f"allowed are {', '.join(OBJECTIVES)}, by commas, or {NONE}"
        if self.objective not in (None, NONE) and not self.objectives:
            raise UserError(f"--objective is {self.objective!r}; {allowed}")
        for name in self.objectives:
            if name not in OBJECTIVES:
                raise UserError(f"--objective names {name!r}; {allowed}")
            if name != LATENCY and getattr(self, f"max_{name.replace('-', '_')}") is None:
                raise UserError(
                    f"--objective names {name}, and no --max-{name} says what of it is too much; give both: the reward "
                    "is of the share that a network has of its limit"
                )
        idle = (HARD,) if METHODS[self.method].learns_by_reward else (HARD, HARD_ABOVE)  # candidates keep their limits
        if self.objectives and self.reward in idle:
            weighing = " or ".join(name for name in REWARDS if name not in idle)
            raise UserError(
                f"--objective is {self.objective}, but --reward {self.reward} weighs nothing beside accuracy with "
                f"--method {self.method}; give {weighing}, or --objective {NONE}"
            )

    def _check_latency_loss(self) -> None:
        chosen, method = self.latency_loss, METHODS[self.method]
        if chosen not in LOSSES:
            raise UserError(f"--latency-loss is {chosen!r}; allowed are {', '.join(LOSSES)}")
        if chosen != ADAPTIVE and not method.has_latency_loss:
            having = ", ".join(name for name, known in METHODS.items() if known.has_latency_loss)
            raise UserError(
                f"--latency-loss is {chosen}, but --method {self.method} trains nothing on a latency; give "
                f"--latency-loss {ADAPTIVE}, or take one of {having}"
            )
        if chosen != ADAPTIVE and self.reward != HARD:
            raise UserError(
                f"--latency-loss {chosen} and --reward {self.reward} are both chosen, and with a reward the latency "
                f"is in no loss; give --latency-loss {ADAPTIVE} or --reward {HARD}"
            )
        if chosen != ADAPTIVE and not LATENCY_LOSSES[chosen].is_sum and not method.has_cross_entropy:
            raise UserError(
                f"--latency-loss {chosen} multiplies a cross-entropy, and --method {self.method} has none; take linear "
                "or absolute"
            )
        for number in ("weight", "exponent"):
            forms = [name for name, form in LATENCY_LOSSES.items() if form.number == number]
            if getattr(self, f"latency_{number}") is not None and chosen not in forms:
                raise UserError(
                    f"--latency-{number} is of --latency-loss {' or '.join(forms)}, and that is {chosen}; leave it out"
                )

    @property
    def weight_epochs(self) -> int:
        """Of the super-network: `--supernet-epochs`, or the method's own."""
        return self.supernet_epochs or METHODS[self.method].epochs

    @property
    def latency_number(self) -> float | None:
        """The weight or the exponent of the latency loss; None: its own."""
        return self.latency_exponent if self.latency_weight is None else self.latency_weight


LEAST = {
    **dict.fromkeys(("calibration_networks", "batch_size", "population"), 2),
    **dict.fromkeys(("supernet_epochs", "generations", "recalibration_batches"), 1),
    **dict.fromkeys(("train_epochs", "rank_epochs", "rank_trainings", "attempts", "finalists"), 1),
    **dict.fromkeys(("seed", "rank_networks"), 0),
    "resolution": 1,
}


def option(field: str) -> str:
    """How a field is spelled on the command line."""
    return "--" + field.replace("_", "-")


def read_config(file: Path) -> RunConfig:
    """What an earlier command wrote; UserError naming the key that is not as it should be."""
    record = read_json(file)
    advice = f"mend {file}, or choose another --out"
    if not isinstance(record, dict):
        raise UserError(f"{file} holds no options but {type(record).__name__}; {advice}")
    hints: dict[str, Any] = get_type_hints(RunConfig)
    for name, value in record.items():
        if name not in hints:
            raise UserError(f"{file} has an option {name!r} that this version of hwnas does not know; {advice}")
        if not _fits(value, hints[name]):
            raise UserError(f"{name} is {value!r} in {file}; {advice}")
    config = RunConfig(**record)
    config.check()
    return config


def _fits(value: object, hint: Any) -> bool:
    if isinstance(value, bool):
        return hint is bool
    return isinstance(value, hint) or (isinstance(value, int) and isinstance(float(value), hint))


def defaults() -> dict[str, str]:
    """How the help shows each default."""
    shown = {name: "none" if value is None else str(value) for name, value in asdict(RunConfig()).items()}
    rates = ", ".join(f"{rate} with {name}" for name, rate in DEFAULT_LR.items())
    switches = {name: "no" for name, value in shown.items() if value == "False"}
    numbers = {
        f"latency_{number}": ", ".join(
            f"{f.default} of {name}" for name, f in LATENCY_LOSSES.items() if f.number == number
        )
        for number in ("weight", "exponent")
    }
    rank_epochs = "as many as all of them together cost no more than the winner's training"
    fewer = [f"{method.epochs} with {name}" for name, method in METHODS.items() if method.epochs != DEFAULT_EPOCHS]
    epochs = {
        "supernet_epochs": ", ".join([*fewer, f"{DEFAULT_EPOCHS} with any other method"]),
        "rank_epochs": rank_epochs,
    }
    return shown | switches | numbers | epochs | {"lr": rates, "supernet_lr": rates}

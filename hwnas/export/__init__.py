"""Convert, reduce, check, describe, fill a kit."""

from hwnas.export.card import CARD, model_card, plan_told, threads_told
from hwnas.export.described import convert_for_apple
from hwnas.export.export import (
    MAX_RELATIVE_ERROR,
    Exported,
    Reference,
    convert,
    failed_path,
    logits_of,
    model_path,
    reduce,
    reference,
    relative_error,
    write_beside,
)
from hwnas.export.golden import write_golden
from hwnas.export.kit import Filled, fill_kit
from hwnas.export.measuring import measure_exported, measured_on
from hwnas.export.preprocessing import Preprocessing
from hwnas.export.sources import Brought, bring
from hwnas.export.targets import Target, load_target, target_names

__all__ = [
    "CARD",
    "MAX_RELATIVE_ERROR",
    "Brought",
    "Exported",
    "Filled",
    "Preprocessing",
    "Reference",
    "Target",
    "bring",
    "convert",
    "convert_for_apple",
    "failed_path",
    "fill_kit",
    "load_target",
    "logits_of",
    "measure_exported",
    "measured_on",
    "model_card",
    "model_path",
    "plan_told",
    "reduce",
    "reference",
    "relative_error",
    "target_names",
    "threads_told",
    "write_beside",
    "write_golden",
]

"""The model card: what an app developer should know before shipping the model."""

from collections.abc import Mapping, Sequence
from typing import Any

CARD = "MODEL_CARD.md"
CHECKED = ("file", "precision", "size", "test accuracy, 95 % interval", "same top-1", "relative error")
NOT_TOLD = "-"


def model_card(record: Mapping[str, Any], licence: str) -> str:
    """The card in Markdown, from what `export.json` holds."""
    torch = record["torch"]
    low, high = torch["test_accuracy_interval"]
    return "\n".join(
        [
            f"# {record['model']}",
            "",
            f"An image classifier with {len(record['classes'])} classes: {_named(record['classes'])}.",
            "",
            "## Data",
            "",
            f"Tested on {torch['images']} images of the test part of `{record['data']}`, {_unseen(record)}.",
            f"In torch, fp32: {_percent(torch['test_accuracy'])} ({_percent(low)} to {_percent(high)}).",
            "",
            "## Files",
            "",
            *_files(record),
            "",
            *_fine_tuned(record),
            _measured(record),
            "",
            *_planned(record),
            *_on_device(record),
            *_emulated(record),
            "## Limits",
            "",
            *[f"- {limit}" for limit in _limits(record)],
            "",
            "## Licence",
            "",
            licence or "Not stated: whoever made the weights has to say. Set it with `--licence`.",
            "",
        ]
    )


def _named(classes: Sequence[str]) -> str:
    shown = ", ".join(classes[:12])
    return shown if len(classes) <= 12 else f"{shown}, and {len(classes) - 12} more (labels.txt)"


def _unseen(record: Mapping[str, Any]) -> str:
    if record["is_unseen"]:
        return "which took no part in training"
    return "of which nobody told whether the model was trained on them"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _files(record: Mapping[str, Any]) -> list[str]:
    threads = record.get("measured_on", {}).get("threads", [])
    latency = [f"latency, {threads_told(count)}" for count in threads]
    heads = [*CHECKED, *latency, "load", "memory"]
    checked = [file for file in record["files"].values() if "images" in file]
    return [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|", *[_row(file, threads) for file in checked]]


def _row(file: Mapping[str, Any], threads: Sequence[int]) -> str:
    low, high = file["test_accuracy_interval"]
    cells = [
        f"`{file['path']}`",
        f"{file['precision']}{' FAILED' if file['failed'] else ''}",
        f"{file['size_bytes'] / 1e6:.2f} MB",
        f"{_percent(file['test_accuracy'])} ({_percent(low)} to {_percent(high)})",
        _percent(file["top1_agreement"]),
        f"{file['max_relative_error']:.1e}",
        *[_or_not_told(file.get("latency_ms", {}).get(str(count)), "ms") for count in threads],
        _or_not_told(file.get("load_ms"), "ms"),
        _or_not_told(file.get("peak_memory_mb"), "MB"),
    ]
    return f"| {' | '.join(cells)} |"


def _or_not_told(value: float | None, unit: str) -> str:
    return NOT_TOLD if value is None else f"{value:.3g} {unit}"


def _fine_tuned(record: Mapping[str, Any]) -> list[str]:
    """A line for each file that is not of the original weights."""
    files = [file for file in record["files"].values() if file.get("fine_tuned")]
    told = [
        f"`{file['path']}` has weights of its own, fine-tuned for int8 on the training part ({used['epochs']} epochs, "
        f"{used['seconds']:.0f} s): {_percent(used['test_accuracy_before'])} before, "
        f"{_percent(file['test_accuracy'])} after."
        for file in files
        for used in [file["fine_tuned"]]
    ]
    return [line for text in told for line in (text, "")]


def _measured(record: Mapping[str, Any]) -> str:
    on = record.get("measured_on")
    if not on:
        return "Latency was not measured."
    return f"Measured on {on['soc']} ({on['architecture']}, {on['os']}) with {on['runtimes']}; {on['protocol']}."


def _on_device(record: Mapping[str, Any]) -> list[str]:
    """What the files compute on the phone or board that they were made for."""
    files = [file for file in record["files"].values() if "on_device" in file]
    if not files:
        return []
    return [
        f"## On {files[0]['on_device']['device']}",
        "",
        "Largest relative difference of the logits from torch, from the same file on the exporting host, and how often "
        "the top-1 is the host's.",
        "",
        "| file | there |",
        "|---|---|",
        *[f"| `{file['path']}` | {_on_processor(file['on_device'])} |" for file in files],
        "",
    ]


def _emulated(record: Mapping[str, Any]) -> list[str]:
    """What the files compute on Arm processors, where that was checked."""
    on = record.get("emulated_on")
    if not on:
        return []
    heads = ["file", *on["processors"]]
    files = [file for file in record["files"].values() if "emulated" in file]
    rows = [
        [f"`{file['path']}`", *(_on_processor(file["emulated"][name]) for name in on["processors"])] for file in files
    ]
    return [
        "## On Arm processors",
        "",
        "Largest relative difference of the logits from torch, from the same file on the exporting host, and how often "
        f"the top-1 is the host's. Emulated by {on['emulator']}: values only, no latency.",
        "",
        f"| {' | '.join(heads)} |",
        "|---" * len(heads) + "|",
        *[f"| {' | '.join(row)} |" for row in rows],
        "",
        *[f"- {name}: {where}" for name, where in on["processors"].items()],
        "",
    ]


def _on_processor(result: Mapping[str, Any]) -> str:
    if result["max_relative_error"] is None:
        return "FAILED"
    figures = f"{result['max_relative_error']:.1e}, {result['max_relative_difference']:.1e}"
    return f"{figures}, {result['same_top1_as_here']:.0%}{' FAILED' if result['failed'] else ''}"


def plan_told(record: Mapping[str, Any]) -> str:
    """The planned file's latency against its prediction and its budget; empty where nothing was planned."""
    plan = record.get("plan")
    if not plan or plan["file"] not in record["files"]:
        return ""
    predicted_ms, budget_ms, measured_ms = plan["predicted_ms"], plan["budget_ms"], plan["measured_ms"]
    if measured_ms is None:
        told = f"latency not measured, predicted {predicted_ms:.3g} ms, budget {budget_ms:.3g} ms"
    else:
        off, verdict = 100 * (measured_ms / predicted_ms - 1), "kept" if measured_ms <= budget_ms else "exceeded"
        told = (
            f"measured {measured_ms:.3g} ms, predicted {predicted_ms:.3g} ms ({off:+.0f} %), "
            f"budget {budget_ms:.3g} ms ({verdict})"
        )
    return f"{record['files'][plan['file']]['path']} with {threads_told(plan['threads'])}: {told}"


def threads_told(count: int) -> str:
    """`1 thread`, `2 threads`"""
    return f"{count} {'thread' if count == 1 else 'threads'}"


def _planned(record: Mapping[str, Any]) -> list[str]:
    told = plan_told(record)
    return [f"The run that made it: {told}.", ""] if told else []


def _limits(record: Mapping[str, Any]) -> list[str]:
    """What is known to be wrong, slow or unproven."""
    failed = [
        f"`{file['path']}` must not be used: {file['failed']}."
        for file in record["files"].values()
        if file.get("failed")
    ]
    not_run = [f"`{f['path']}`: {f['not_run_here']}." for f in record["files"].values() if f.get("not_run_here")]
    slower = [f"`{record['files'][key]['path']}`: {why}." for key, why in record.get("slower", {}).items()]
    return [
        *failed,
        *not_run,
        *slower,
        "It names one of its classes for every picture, also for one that shows none of them.",
        "Accuracy holds for pictures like those of the data; latency for the device above.",
        "Golden pair: `golden.png` and the logits of `golden.json`; an app must find these within the stated error.",
    ]

"""What an export found, as lines for a terminal."""

from collections.abc import Mapping, Sequence

from hwnas.export import plan_told, threads_told
from hwnas.stages.run import say
from hwnas.storage import Record


def tell(record: Record) -> None:
    """A line a file, then what is wrong or slow."""
    torch = record["torch"]
    say(f"in torch: {_interval(torch)} on {torch['images']} images of the test part")
    for file in record["files"].values():
        say(f"{file['path']}: {file.get('not_run_here') or ', '.join(_facts(file))}")
    if told := plan_told(record):
        say(told)
    for line in (*_on_device(record["files"]), *_emulated(record["files"])):
        say(line)
    for key, why in record["slower"].items():
        say(f"{record['files'][key]['path']} is slower than fp32: {why}")
    for line in _fallbacks(record):
        say(line)


def _fallbacks(record: Record) -> list[str]:
    """What of which file no target's executor, or only some, would run; each said once."""
    found: dict[str, list[str]] = {}
    for name, target in record["targets"].items():
        for key, file in target["files"].items():
            if file["falls_back_to_cpu"]:
                what = ", ".join(f"{count} x {operator}" for operator, count in file["falls_back_to_cpu"].items())
                path = record["files"][key]["path"]
                line = f"of {path}, {what} would not run in {target['executor']} but on the plain CPU"
                found.setdefault(line, []).append(name)
    return [f"{' and '.join(names)}: {line}" for line, names in found.items()]


def _interval(found: Record) -> str:
    low, high = found["test_accuracy_interval"]
    return f"{found['test_accuracy']:.1%} right ({low:.1%} to {high:.1%})"


def _facts(file: Record) -> Sequence[str]:
    transposes = sum(count for name, count in file["operators"].items() if name.upper() == "TRANSPOSE")
    facts = [
        _interval(file),
        *_mending(file),
        f"the same top-1 on {file['top1_agreement']:.1%}",
        f"largest difference {file['max_relative_error']:.1e} relative",
        f"{file['size_bytes'] / 1e6:.2f} MB",
        f"{transposes} transposes",
    ]
    facts += [f"{ms:.3g} ms with {threads_told(int(threads))}" for threads, ms in file.get("latency_ms", {}).items()]
    facts += [f"loaded in {file['load_ms']:.3g} ms"] if "load_ms" in file else []
    facts += [f"{file['peak_memory_mb']:.3g} MB of memory"] if "peak_memory_mb" in file else []
    return facts


def _mending(file: Record) -> Sequence[str]:
    """What was done for a file whose weights are its own."""
    told = file.get("fine_tuned")
    if not told:
        return ()
    before = f"{told['test_accuracy_before']:.1%}"
    return (f"{before} before its weights were fine-tuned for int8 ({told['epochs']} epochs, {told['seconds']:.0f} s)",)


def _on_device(files: Mapping[str, Record]) -> list[str]:
    """A line for each file that was run on the phone or board that it is for."""
    checked = [(file["path"], file["on_device"]) for file in files.values() if "on_device" in file]
    return [f"{path}, on {result['device']}: {_fact_elsewhere(result)}" for path, result in checked]


def _emulated(files: Mapping[str, Record]) -> list[str]:
    """A line for each file that was run; processors on which it computes the same are told of together."""
    lines = []
    for file in files.values():
        alike: dict[str, list[str]] = {}
        for name, result in file.get("emulated", {}).items():
            alike.setdefault(_fact_elsewhere(result), []).append(name)
        facts = [f"on {', '.join(names)} {fact}" for fact, names in alike.items()]
        lines += [f"{file['path']}, emulated: {'; '.join(facts)}"] if facts else []
    return lines


def _fact_elsewhere(result: Record) -> str:
    if result["max_relative_error"] is None:
        return f"it {result['failed']}"
    return (
        f"{result['max_relative_error']:.1e} from torch, {result['max_relative_difference']:.1e} from here, "
        f"the same top-1 as here on {result['same_top1_as_here']:.0%}"
    )

"""Exports known networks in every precision: seconds, differences from torch, accuracy lost.

python benchmarks/export.py --data IMAGES [--imagenet FOLDER] [--models mobilenet_v2,...] [--images 500]
                            [--check-on all]

torchvision's networks have random weights and statistics of batch norm from the images. FOLDER holds ProxylessNAS
networks trained on ImageNet as NAME.json (the layers, as ProxylessNAS writes them) and NAME.npz (the weights); the
class names of IMAGES must then be ImageNet's, as torchvision spells them. Ends with tables in Markdown.
"""

import argparse
import json
import tempfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models._meta import _IMAGENET_CATEGORIES

from hwnas.datasets import DataConfig, ImageSet, Splits, prepare
from hwnas.devices import load_profile
from hwnas.export import Preprocessing, bring
from hwnas.export.sources import OWN, load_weights
from hwnas.nn import keep_freed_memory
from hwnas.stages.elsewhere import processors_of
from hwnas.stages.export import shipped
from hwnas.stages.export_model import settle_batch_norm
from hwnas.stages.shipping import ALL_PRECISIONS, Choices, Shipment, forms, key_of
from hwnas.storage import Record
from hwnas.train import stored_size

MODELS = "mobilenet_v2,mobilenet_v3_small,mobilenet_v3_large,efficientnet_b0,mnasnet1_0,shufflenet_v2_x1_0"
RESOLUTION = 224
FORMS = forms(",".join(ALL_PRECISIONS))
HEADS = " | ".join(key_of(form) for form in FORMS)


class ConvBn(nn.Module):
    """Convolution, batch norm and perhaps ReLU6, with the names of ProxylessNAS' checkpoints."""

    def __init__(self, channels: int, out: int, kernel=1, stride=1, depthwise=False, act=True) -> None:
        super().__init__()
        groups = channels if depthwise else 1
        self.conv = nn.Conv2d(channels, out, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(out, eps=1e-3)
        self.act = nn.ReLU6() if act else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn(self.conv(x)))


class Inverted(nn.Module):
    def __init__(self, layer: Record) -> None:
        super().__init__()
        channels, out, expansion = layer["in_channels"], layer["out_channels"], layer["expand_ratio"]
        middle = round(channels * expansion)
        self.inverted_bottleneck = ConvBn(channels, middle) if expansion != 1 else None
        self.depth_conv = ConvBn(middle, middle, layer["kernel_size"], layer["stride"], depthwise=True)
        self.point_linear = ConvBn(middle, out, act=False)

    def forward(self, x: Tensor) -> Tensor:
        x = x if self.inverted_bottleneck is None else self.inverted_bottleneck(x)
        return self.point_linear(self.depth_conv(x))


class Block(nn.Module):
    """An inverted bottleneck, with a shortcut or without; one without layers is its shortcut."""

    def __init__(self, described: Record) -> None:
        super().__init__()
        layer = described["mobile_inverted_conv"]
        self.is_zero, self.has_shortcut = layer["name"] == "ZeroLayer", described["shortcut"] is not None
        self.mobile_inverted_conv = None if self.is_zero else Inverted(layer)

    def forward(self, x: Tensor) -> Tensor:
        if self.mobile_inverted_conv is None:
            return x
        y = self.mobile_inverted_conv(x)
        return x + y if self.has_shortcut else y


class Proxyless(nn.Module):
    """A network as ProxylessNAS describes it in JSON."""

    def __init__(self, described: Record) -> None:
        super().__init__()
        first, last, classifier = (described[x] for x in ("first_conv", "feature_mix_layer", "classifier"))
        self.first_conv = ConvBn(3, first["out_channels"], 3, 2)
        self.blocks = nn.Sequential(*(Block(block) for block in described["blocks"]))
        self.feature_mix_layer = ConvBn(last["in_channels"], last["out_channels"])
        self.classifier = nn.Module()
        self.classifier.linear = nn.Linear(classifier["in_features"], classifier["out_features"])

    def forward(self, x: Tensor) -> Tensor:
        x = self.feature_mix_layer(self.blocks(self.first_conv(x)))
        return self.classifier.linear(x.mean((2, 3)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--imagenet", type=Path)
    parser.add_argument("--models", default=MODELS)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--check-on", help="emulated Arm processors, as `hwnas export` has them")
    options = parser.parse_args()
    keep_freed_memory()
    choices = Choices(
        FORMS, max_drop_points=None, checked_images=options.images, check_on=processors_of(options.check_on)
    )
    names = [name for name in options.models.split(",") if name]
    with tempfile.TemporaryDirectory() as folder:
        splits = _splits(options.data, RESOLUTION, Path(folder))
        found = {name: exported(torchvision_shipment(name, splits, options.data), choices) for name in names}
        if options.imagenet is not None:
            for path in sorted(options.imagenet.glob("*.json")):
                found[path.stem] = exported(imagenet_shipment(path, options.data, Path(folder)), choices)
    print_tables(found)


def _splits(data: str, resolution: int, folder: Path) -> Splits:
    size = stored_size(resolution)
    return prepare(DataConfig(data=data, image_size=size), folder / str(size), 1)


def torchvision_shipment(name: str, splits: Splits, data: str) -> Shipment:
    brought = bring(f"torchvision:{name}", "none", len(splits.classes), seed=0)
    preprocessing = Preprocessing(RESOLUTION, stored_size(RESOLUTION), brought.mean, brought.std)
    shipment = _shipment(brought.module, name, splits, splits.classes, preprocessing, data)
    settle_batch_norm(shipment)
    return shipment


def imagenet_shipment(path: Path, data: str, folder: Path) -> Shipment:
    """The network whose layers the file holds; its name ends in the resolution: `...-r176_imagenet`."""
    module = Proxyless(json.loads(path.read_text())).eval()
    load_weights(module, path.with_suffix(".npz"))
    resolution = int(path.stem.rpartition("-r")[2].partition("_")[0])
    splits = _splits(data, resolution, folder)
    output = torch.tensor([_IMAGENET_CATEGORIES.index(name) for name in splits.classes]).numpy()
    train, test = (ImageSet(part.images, output[part.labels]) for part in (splits.train, splits.test))
    preprocessing = Preprocessing(resolution, stored_size(resolution), *OWN)
    of_imagenet = replace(splits, train=train, test=test)
    return _shipment(module, path.stem, of_imagenet, tuple(_IMAGENET_CATEGORIES), preprocessing, data)


def _shipment(
    module: nn.Module, name: str, splits: Splits, classes: tuple[str, ...], preprocessing: Preprocessing, data: str
) -> Shipment:
    profile = load_profile("host_cpu1_litert_fp32")
    return Shipment(
        module, name, data, False, classes, preprocessing, splits.train, splits.test, seed=0, profile=profile
    )


def exported(shipment: Shipment, choices: Choices) -> Record:
    """What `export.json` would say, with the seconds of all of it."""
    with tempfile.TemporaryDirectory() as folder:
        start_s, start_cpu_s = time.perf_counter(), time.process_time()
        record = shipped(Path(folder), shipment, choices)
        return record | {"wall_s": time.perf_counter() - start_s, "cpu_s": time.process_time() - start_cpu_s}


def print_tables(found: dict[str, Record]) -> None:
    print(f"\nLargest relative difference of logits from torch\n\n| network | {HEADS} |\n{'|---' * (len(FORMS) + 1)}|")
    for name, record in found.items():
        print(f"| {name} | {' | '.join(_cell(record, form, _difference) for form in FORMS)} |")
    print(f"\nAccuracy lost, points | the same top-1\n\n| network | torch | {HEADS} |\n{'|---' * (len(FORMS) + 2)}|")
    for name, record in found.items():
        cells = " | ".join(_cell(record, form, _lost) for form in FORMS)
        print(f"| {name} | {100 * record['torch']['test_accuracy']:.1f} % | {cells} |")
    print(f"\nSeconds\n\n| network | wall, processor | {HEADS} |\n{'|---' * (len(FORMS) + 2)}|")
    for name, record in found.items():
        cells = " | ".join(_cell(record, form, lambda file: f"{file['seconds']:.1f}") for form in FORMS)
        print(f"| {name} | {record['wall_s']:.0f}, {record['cpu_s']:.0f} | {cells} |")
    print(f"\nLatency, ms, 1 thread\n\n| network | {HEADS} |\n{'|---' * (len(FORMS) + 1)}|")
    for name, record in found.items():
        cells = " | ".join(_cell(record, form, lambda file: f"{file['latency_ms']['1']:.3g}") for form in FORMS)
        print(f"| {name} | {cells} |")
    for name, record in found.items():
        print_emulated(name, record)


def print_emulated(name: str, record: Record) -> None:
    """A row a processor: largest difference from torch, from this host, and the top-1 that is the same as here."""
    processors = record["emulated_on"].get("processors", {})
    if processors:
        print(f"\nOn emulated processors, {name}\n\n| processor | {HEADS} |\n{'|---' * (len(FORMS) + 1)}|")
    for on in processors:
        print(f"| {on} | {' | '.join(_cell(record, form, partial(_emulated, on=on)) for form in FORMS)} |")


def _emulated(file: Record, on: str) -> str:
    result = file["emulated"][on]
    figures = f"{result['max_relative_error']:.1e}, {result['max_relative_difference']:.1e}"
    return f"{figures}, {result['same_top1_as_here']:.0%} ({result['seconds']:.0f} s)"


def _cell(record: Record, form: tuple[str, str], show) -> str:
    file = record["files"].get(key_of(form))
    return "not made" if file is None else f"failed: {file['failed']}" if file["failed"] else show(file)


def _difference(file: Record) -> str:
    return f"{file['max_relative_error']:.1e}"


def _lost(file: Record) -> str:
    return f"{file['drop_points']:.1f}, {file['top1_agreement']:.1%}"


if __name__ == "__main__":
    main()

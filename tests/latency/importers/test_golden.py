"""The figures of imported tables are those of their sources."""

import json
import random

import numpy as np
import peers
import pytest

from hwnas.devices import FakeDevice, load_profile
from hwnas.errors import UserError
from hwnas.latency import TablePredictor
from hwnas.latency.importers import hw_nas_bench_fbnet, import_table
from hwnas.latency.interpolation import interpolate
from hwnas.latency.profiler import identity, rows_to_measure
from hwnas.latency.table import IDENTITY_KEYS, LatencyTable
from hwnas.latency.transfer import choose_rows, transfer
from hwnas.spaces import PUBLISHED, SpaceConfig, build_space, published_arch
from hwnas.spaces.chain import SKIP


def imported(format_name, path, folder, device=None):
    out = folder / f"{format_name}.jsonl"
    import_table(format_name, path, out, device)
    return LatencyTable.read(out)


def medians_ms(table):
    return {key: measurement.median_ms for key, measurement in table.items()}


def space_at_224(name):
    return build_space(SpaceConfig(name, 224, 1000))


def with_layers_of(name, space):
    """The choices of a published network, in a chain of the same depth and other widths."""
    network = PUBLISHED[name]
    chain = space_at_224(network.space)
    return space.from_names(tuple(chain.to_names(published_arch(name, chain))))


def test_an_imported_identity_tells_what_a_measured_one_tells(tmp_path):
    profile = load_profile("fake")
    assert set(identity(profile, FakeDevice(profile), space_at_224("mobilenet_v2"))) == set(IDENTITY_KEYS)
    table = imported("proxyless", peers.proxyless_yaml(tmp_path), tmp_path, "Pixel 1")
    assert set(table.identity) == {*IDENTITY_KEYS, "source"}
    assert (table.identity["device"], table.identity["threads"]) == ("Pixel 1", "unknown")
    assert table.identity["resolution"] == "224"
    assert "pixel_trim.yaml" in table.identity["source"]
    assert str(tmp_path) not in table.identity["source"]


@pytest.mark.parametrize(("network", "expected_ms"), [("mobilenet_v2", 96.845), ("proxyless_mobile", 86.375)])
def test_proxyless_sums_the_rows_of_every_layer(tmp_path, network, expected_ms):
    """Sums by hand of the file's rows for these layers: the repeated ones share a row, a skip costs 0.

    Published on a Pixel 1 are 75 ms for MobileNetV2 and 78 ms for ProxylessNAS-Mobile. Both have other widths than
    the table, which is of another run: the second has 32 channels for 24 here, and would take still longer.
    """
    table = imported("proxyless", peers.proxyless_yaml(tmp_path), tmp_path)
    space = space_at_224("proxyless_24")
    predictor = TablePredictor(space, medians_ms(table))
    assert predictor.arch_ms(with_layers_of(network, space)) == pytest.approx(expected_ms, abs=0.01)
    assert len(table) == 72
    assert table.summaries["conv-3x224x224-32-s2-k3"] == {
        "mean_ms": pytest.approx(4.397038),
        "std_ms": pytest.approx(0.156277**0.5),
        "count": 949,
    }


@pytest.mark.parametrize(
    ("network", "expected_ms", "published_ms"), [("mobilenet_v2", 84.1, 75), ("proxyless_mobile", 90.7, 78)]
)
def test_with_rows_interpolated_published_networks_are_one_factor_above_what_was_published(
    tmp_path, network, expected_ms, published_ms
):
    op_ms = medians_ms(imported("proxyless", peers.proxyless_yaml(tmp_path), tmp_path))
    space = space_at_224(PUBLISHED[network].space)
    missing = [spec for key, spec in rows_to_measure(space).items() if key not in op_ms]
    guessed_ms = {key: guess.latency_ms for key, guess in interpolate(op_ms, missing).items()}
    found_ms = TablePredictor(space, op_ms | guessed_ms).arch_ms(published_arch(network, space))
    assert found_ms == pytest.approx(expected_ms, abs=0.5)
    assert 1.1 < found_ms / published_ms < 1.2


@pytest.mark.parametrize(("network", "expected_ms"), [("mobilenet_v2", 98.416), ("proxyless_mobile", 84.417)])
def test_tunas_puts_the_same_layers_near_the_other_table(tmp_path, network, expected_ms):
    path, space = peers.shared("tunas_pixel1_linear", "tunas_proxylessnas_pixel1.json"), space_at_224("proxyless_24")
    predictor = TablePredictor(space, medians_ms(imported("tunas", path, tmp_path)))
    assert predictor.arch_ms(with_layers_of(network, space)) == pytest.approx(expected_ms, abs=0.01)


@pytest.mark.parametrize(
    ("name", "first", "count"),
    [("proxyless", "ir-16x112x112-32-s2-e3-k3", 18), ("mobilenet_v2", "ir-24x56x56-32-s2-e3-k3", 48)],
)
def test_proxyless_names_what_its_file_lacks_as_the_original_does(tmp_path, name, first, count):
    table = imported("proxyless", peers.proxyless_yaml(tmp_path), tmp_path)
    with pytest.raises(UserError, match=f"lacks {count} of the 70 operators of {name} at 224 pixels: {first}"):
        TablePredictor(space_at_224(name), medians_ms(table))


def test_tunas_sums_are_those_of_the_linear_model(tmp_path):
    path = peers.shared("tunas_pixel1_linear", "tunas_proxylessnas_pixel1.json")
    model, space = json.loads(path.read_text()), space_at_224("proxyless_24")
    predictor = TablePredictor(space, medians_ms(imported("tunas", path, tmp_path)))

    def model_ms(arch):
        names = ["k3_e1", *(n if n == SKIP else f"{n[:2]}_{n[2:]}" for n in space.to_names(arch))]
        return model["intercept"] + sum(layer["ops"][n] for layer, n in zip(model["layers"], names, strict=True))

    rng = random.Random(0)
    archs = [space.sample(rng) for _ in range(300)]
    wrong_ms = predictor.latency_ms(archs) - np.array([model_ms(arch) for arch in archs])
    assert np.abs(wrong_ms).max() < 0.05  # repeated layers share a row: their coefficients differ by some 0.01 ms
    assert predictor.op_ms["conv-3x224x224-32-s2-k3"] == pytest.approx(30.9361, abs=1e-3)  # the smallest network
    assert all(ms >= 0 for ms in predictor.op_ms.values())


@pytest.mark.parametrize("resolution", [160, 224])
def test_once_for_all_sums_are_those_of_its_estimator(tmp_path, resolution):
    """The largest network: `predict_network_latency_given_spec` for d = 4, e = 6, ks = 7, written out over its rows."""
    path = peers.once_for_all_yaml(tmp_path, resolution)
    rows = [
        row
        for row in peers.rows_of(peers.shared("ofa_note10_lut", "note10_mbv3_w1.2_lut.csv"))
        if row["res"] == str(resolution)
    ]
    original_ms = {
        (row["op"], row["cin"], row["cout"], row["expand_ch"], row["kernel"]): float(row["mean_ms"]) for row in rows
    }
    ours_ms = medians_ms(imported("once-for-all", path, tmp_path))
    side, channels = resolution // 2, 24
    expected, keys = original_ms["expanded_conv", "24", "24", "24", "3"], [f"ir-24x{side}x{side}-24-s1-e1-k3"]
    for width, stride, se, hs in ((32, 2, 0, 0), (48, 2, 1, 0), (96, 2, 0, 1), (136, 1, 1, 1), (192, 2, 1, 1)):
        for layer in range(4):
            expected += original_ms["expanded_conv", str(channels), str(width), str(6 * channels), "7"]
            s = stride if layer == 0 else 1
            foreign = f"hs{hs}-k7-mid{6 * channels}-residual{int(layer > 0)}-se{se}"
            kind, args = ("ofa_ir", foreign) if se or hs else ("ir", "e6-k7")
            keys.append(f"{kind}-{channels}x{side}x{side}-{width}-s{s}-{args}")
            side, channels = -(-side // s), width
    assert sum(ours_ms[key] for key in keys) == pytest.approx(expected)
    assert len(ours_ms) == len(rows) == 96
    assert {f"ofa_avgpool2d-1152x{side}x{side}-1152-s{side}", "ofa_logits-1536x1x1-1000-s1"} <= set(ours_ms)


def test_once_for_all_takes_the_device_from_the_folder_and_keeps_the_spread(tmp_path):
    table = imported("once-for-all", peers.once_for_all_yaml(tmp_path, 160), tmp_path)
    assert (table.identity["device"], table.identity["resolution"]) == ("note10", "160")
    assert table.summaries["ofa_conv-3x160x160-24-s2-k3"] == {"mean_ms": 0.495562, "std_ms": 0.01024, "count": 498}


def test_nn_meter_rows_are_those_of_the_file(tmp_path):
    path = peers.shared("nnmeter_mbconv_lut", "mbconv_v3.csv")
    table = imported("nn-meter", path, tmp_path, "pixel4")
    assert len(table) == 1788
    assert table["nnmeter_ir-16x64x64-24-s1-e1-hs1-k3-se0"].median_ms == 0.412266
    total_ms = sum(float(row["pixel4_ms"]) for row in peers.rows_of(path))
    assert sum(medians_ms(table).values()) == pytest.approx(total_ms)


def test_nn_meter_json_and_csv_give_the_same_rows(tmp_path):
    path = peers.shared("nnmeter_mbconv_lut", "mbconv_v3.csv")
    content = {"transattn_8_96_hard_swish_2_ln": 0.955342}
    for row in peers.rows_of(path):
        columns = [row[name] for name in ("hw", "cin", "cout", "expand", "stride", "act", "kernel")]
        content["_".join(["conv", *columns, "se" if row["se"] == "1" else "nose"])] = float(row["pixel1_ms"])
    theirs = tmp_path / "pixel1_lut_ln_v3.json"
    theirs.write_text(json.dumps(content))
    from_json = imported("nn-meter", theirs, tmp_path)
    (tmp_path / "csv").mkdir()
    assert medians_ms(from_json) == medians_ms(imported("nn-meter", path, tmp_path / "csv", "pixel1"))
    assert from_json.identity["device"] == "pixel1"
    assert from_json.identity["left_out"] == "1 rows of other kinds"


@pytest.mark.parametrize("version", ["v2", "v3"])
def test_five_chosen_blocks_tell_more_of_another_phone_than_random_ones(tmp_path, version):
    path = peers.shared("nnmeter_mbconv_lut", f"mbconv_{version}.csv")
    source, target = (medians_ms(imported("nn-meter", path, folder(tmp_path, n), n)) for n in ("pixel1", "xiaomi11"))

    def mape(keys):
        found = transfer(source, {key: target[key] for key in keys})
        return np.mean([abs(found[key] / ms - 1) for key, ms in target.items()])

    by_chance = [mape(random.Random(seed).sample(list(source), 5)) for seed in range(20)]
    assert mape(choose_rows(source, 5)) < 0.95 * np.mean(by_chance)


def folder(path, name):
    (path / name).mkdir()
    return path / name


@pytest.mark.parametrize("device", ["raspi4", "pixel3", "fpga"])
def test_fbnet_sums_are_the_published_latencies_of_networks(tmp_path, device):
    """HW-NAS-Bench's own sums of 5,000 networks, against sums of the imported rows."""
    path = peers.shared("help_fbnet", "hwnasbench_fbnet_lut_recovered.json")
    published = np.load(peers.shared("help_fbnet", "fbnet_cifar100_latency.npz"))
    space = build_space(hw_nas_bench_fbnet.SPACE)
    ms = medians_ms(imported("hw-nas-bench-fbnet", path, tmp_path, device))
    layers = np.array([[*(ms[str(spec)] for spec in options), 0.0] for options in hw_nas_bench_fbnet.layers(space)])
    fixed_ms = sum(ms[str(slot.options[0])] for slot in space.slots if not slot.decisions)
    sums_ms = fixed_ms + layers[np.arange(22), published["ops"]].sum(axis=1)
    expected_ms = published["latency_ms"][:, list(published["device"]).index(device)]
    np.testing.assert_allclose(sums_ms, expected_ms, atol=1e-4)
    assert set(ms) == set(rows_to_measure(space))  # a search of this space needs no more

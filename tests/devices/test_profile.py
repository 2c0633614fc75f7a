"""Profiles: what is allowed, and how a mistake is told."""

import pytest

from hwnas.devices import load_profile
from hwnas.errors import UserError

SOUND = "device: host\nruntime: litert\ndtype: fp32\nthreads: 1\n"


def written(tmp_path, text):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return str(path)


def test_the_name_is_the_stem(tmp_path):
    assert load_profile(written(tmp_path, SOUND)).name == "mine"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            SOUND + "thread: 2\n",
            "thread: Extra inputs are not permitted.*Keys: device, address, python, folder, runtime",
        ),
        (SOUND.replace("fp32", "fp8"), "dtype: Input should be 'fp32', 'fp16' or 'int8'"),
        (SOUND + "timing:\n  round: 2\n", r"timing\.round: Extra"),
        (SOUND.replace("1", "0"), "threads: Input should be greater than or equal to 1 \\(0 came\\)"),
        (SOUND.replace("1", "true"), r"threads: Input should be a valid integer \(True came\)"),
        (SOUND + "timing: {rounds: true}\n", r"timing\.rounds: Input should be a valid integer \(True came\)"),
        (SOUND + "timing: {settle_pct: true}\n", r"timing\.settle_pct: Input should be a valid number \(True came\)"),
        (SOUND + "timing: {rounds: 9, max_rounds: 2}\n", r"mine.yaml: timing: rounds is 9, above max_rounds, 2"),
        (SOUND + "affinity: []\n", r"affinity: .* at least 1 item .*\(\[\] came\)"),
        (SOUND + "affinity: [-1]\n", r"affinity\.0: .*\(-1 came\)"),
        (SOUND + "threads: 2\n", "not valid YAML: the key 'threads' came twice"),
        (SOUND + "timing: {rounds: 2, rounds: 3}\n", "the key 'rounds' came twice"),
        ("device: host\n", "runtime: Field required; dtype"),
        (SOUND.replace("litert", "tensorrt"), "runtime: Input should be 'litert', 'ort' or 'fake'"),
        (SOUND.replace("threads: 1", "threads: 2") + "timing:\n  clock: thread_cpu\n", "use clock: wall"),
        (SOUND.replace("host", "ssh"), "device ssh needs an address: host, user@host or ssh://user@host:port"),
        (SOUND + "address: pi@board\n", "device host has no address: only ssh and adb have"),
        (SOUND + "python: python3\nfolder: x\n", "device host has no python and no folder"),
        (
            SOUND.replace("host", "ssh") + "address: -oProxyCommand=x\n",
            "address '-oProxyCommand=x' came; allowed",
        ),
        (SOUND.replace("host", "adb") + "python: a;b\n", "python 'a;b' came; allowed"),
        (SOUND.replace("host", "adb") + "folder: 1\n", r"folder: Input should be a valid string, in quotes \(1 came\)"),
        ("- a list\n", "must hold keys and values"),
        ("a: [1\n", "not valid YAML"),
        ("!!python/object/apply:os.system ['true']\n", "not valid YAML"),
    ],
)
def test_mistakes_are_one_line(tmp_path, text, message):
    with pytest.raises(UserError, match=message) as caught:
        load_profile(written(tmp_path, text))
    assert "\n" not in str(caught.value)
    assert "Value error" not in str(caught.value)


def test_cores_may_be_listed(tmp_path):
    assert load_profile(written(tmp_path, SOUND + "affinity: [0, 2]\n")).affinity == (0, 2)


def test_an_unknown_name_brings_the_near_ones():
    with pytest.raises(UserError, match="did you mean host_cpu1_litert_fp32"):
        load_profile("host_cpu1_lite_fp32")


@pytest.mark.parametrize("address", ["board", "pi@192.168.0.7", "ssh://pi@board:2222", "pi@[fe80::1%eth0]"])
def test_addresses_are_those_that_ssh_takes(tmp_path, address):
    text = SOUND.replace("host", "ssh") + f'address: "{address}"\n'
    assert load_profile(written(tmp_path, text)).address == address

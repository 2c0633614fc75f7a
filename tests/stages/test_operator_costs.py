"""Costs that add up over operators: exact for whole networks, of chains and of cells, and read from a file."""

import numpy as np
import pytest
from quick import QUICK

from hwnas.errors import UserError
from hwnas.search.populations import as_archs, drawn
from hwnas.spaces import SpaceConfig, build_space, macs, params
from hwnas.spaces.operators import is_free
from hwnas.stages.operator_costs import exact_cost, read_cost_table
from hwnas.storage import Journal, read_json

SPACE = build_space(SpaceConfig("proxyless_small", 32, 10, 0.25))
NAMES = [str(spec) for spec in SPACE.all_ops() if not is_free(spec)]


def written(path, names, metric="energy_mj"):
    path.write_text(f"operator,{metric}\n" + "".join(f"{name},{i + 1}\n" for i, name in enumerate(names)))
    return path


@pytest.mark.parametrize("name", ["proxyless_small", "mobilenet_v4", "nas_bench_201", "darts"])
@pytest.mark.parametrize(("metric", "count"), [("million_macs", macs), ("million_params", params)])
def test_sums_are_those_of_whole_networks(name, metric, count):
    space = build_space(SpaceConfig(name, 32, 10))
    archs = drawn(space, 20, np.random.default_rng(0))
    expected = [count(space.ops(arch)) / 1e6 for arch in as_archs(archs)]
    assert exact_cost(space, metric).of(archs) == pytest.approx(expected)


def test_a_table_is_summed_over_a_network_s_operators(tmp_path):
    cost = read_cost_table(written(tmp_path / "energy.csv", NAMES))
    arch = as_archs(drawn(SPACE, 1, np.random.default_rng(3)))[0]
    expected = sum(NAMES.index(str(spec)) + 1 for spec in SPACE.ops(arch) if not is_free(spec))
    assert cost.cost(SPACE).of([arch])[0] == expected
    assert cost.metric == "energy_mj"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "begins with ''"),
        ("op,energy_mj\n", "begins with 'op,energy_mj'; allowed is 'operator'"),
        ("operator,energy mj\n", "the name of the cost"),
        ("operator,energy_mj\nconv,much\n", "the line 'conv,much'"),
        ("operator,energy_mj\nconv,-1\n", "the line 'conv,-1'"),
        ("operator,energy_mj\nconv\n", "the line 'conv'"),
        ("operator,worth\nconv,1\n", "calls its cost 'worth', as hwnas calls something of its own"),
        ("operator,file_mb\nconv,1\n", "calls its cost 'file_mb'"),
    ],
)
def test_what_is_no_table_is_one_line(tmp_path, text, words):
    (tmp_path / "energy.csv").write_text(text)
    with pytest.raises(UserError, match="--cost-table") as error:
        read_cost_table(tmp_path / "energy.csv")
    assert words in str(error.value)


def test_operators_without_a_cost_are_named(tmp_path):
    cost = read_cost_table(written(tmp_path / "energy.csv", NAMES[2:]))
    with pytest.raises(UserError, match=f"tells no energy_mj of {NAMES[0]}, {NAMES[1]} of proxyless_small's"):
        cost.cost(SPACE)
    with pytest.raises(UserError, match="cannot be read"):
        read_cost_table(tmp_path / "nowhere.csv")


def test_a_search_keeps_them(hwnas, tmp_path):
    run, table = tmp_path / "run", written(tmp_path / "energy.csv", NAMES)
    most = float(np.median(read_cost_table(table).cost(SPACE).of(drawn(SPACE, 200, np.random.default_rng(0)))))
    limits = ("--cost-table", table, "--max-cost", most, "--max-million-macs", "1.2", "--max-million-params", "0.1")
    done = hwnas("search", *QUICK, *map(str, limits), "--out", run)
    assert done.returncode == 0, done.stderr
    assert "and energy of" in done.stderr
    assert read_json(run / "feasible.json")["limits"]["energy_mj"] == most
    trials = Journal(run / "trials.jsonl").records
    for trial in trials:
        ops = SPACE.ops(tuple(trial["arch"]))
        assert trial["energy_mj"] == sum(NAMES.index(str(spec)) + 1 for spec in ops if not is_free(spec)) <= most
        assert trial["million_macs"] == pytest.approx(macs(ops) / 1e6)
        assert macs(ops) <= 1.2e6
        assert params(ops) <= 0.1e6
    table.unlink()  # a search that goes on, on another machine, has what it needs
    assert hwnas("search", "--out", run).returncode == 0

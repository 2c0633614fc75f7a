"""Figures hold what the run holds."""

import json

import pytest

from hwnas.report import read_findings
from hwnas.report.plots import best_so_far, by_stage, further_goals, layers, pareto, training


def test_choices_are_grouped_by_stage():
    names = ["stage0.layer0", "stage0.layer1", "stage1.layer0"]
    assert by_stage(names, ["k3e6", "skip", "k7e3"]) == ["stage0: k3e6 skip", "stage1: k7e3"]


def test_landmarks_out_of_sight_are_named_at_the_edge(run):
    figure = pareto(read_findings(run))
    assert "budget 2 ms" in figure
    assert "\\u2190 smallest 0.5 ms" in figure
    assert "largest" not in figure


def test_how_much_of_the_budget_is_used_is_told_of_what_was_selected(run):
    path, found = run / "trials.jsonl", read_findings(run)
    assert "of the budget" not in pareto(found)  # of trials without a margin
    trials = [trial | {"latency_upper_ms": 1.1 * trial["latency_ms"], "strategy": "sampled"} for trial in found.trials]
    path.write_text("".join(json.dumps(trial) + "\n" for trial in trials))
    assert "of the budget with its margin): a finalist, by its training" in pareto(read_findings(run))
    (run / "front.json").unlink()
    figure = pareto(read_findings(run))
    assert "landed on a network that is predicted at 1 ms (55.0 % of the budget with its margin)" in figure
    assert "delivered is predicted at 1.5 ms (82.5 % of the budget with its margin): another candidate" in figure


def test_a_run_with_an_objective_tells_what_ranks_and_draws_each_goal_once(run, edit):
    assert "Candidates are ranked by their super-network likelihood." in pareto(read_findings(run))
    assert further_goals(read_findings(run)) == ""
    edit("config.json", reward="mnasnet-soft", objective="million-macs, latency,million-macs")
    trials = [trial | {"million_macs": trial["macs"] / 1e6, "worth": 0.25} for trial in read_findings(run).trials]
    (run / "trials.jsonl").write_text("".join(json.dumps(trial) + "\n" for trial in trials))
    found = read_findings(run)
    told = "ranked by their worth (mnasnet-soft of million_macs, latency_ms)."
    assert told in pareto(found)
    assert further_goals(found).count('id="goal-million_macs"') == 1


def test_the_layers_add_up_to_the_prediction(run):
    found = read_findings(run)
    decided = sum(name != "skip" for name in found.selection["winner"]["choices"])
    fixed = 4  # the two convolutions, the depthwise block and the classifier
    total_ms = 1.1 * 0.1 * (decided + fixed) + 0.2
    assert f"{total_ms:.4g} ms together" in layers(found)


def test_both_strategies_are_compared_over_the_same_number_of_evaluations(run):
    assert "random 0.2650 after 4, evolution 0.2850 after 4 evaluations" in best_so_far(read_findings(run))


def test_curves_have_the_names_of_their_networks(run):
    figure = training(read_findings(run))
    assert '"name":"searched"' in figure
    assert '"name":"super-network"' in figure


@pytest.mark.parametrize("figure", [pareto, best_so_far, layers, training])
def test_nothing_to_draw_is_an_empty_string(tmp_path, figure):
    assert figure(read_findings(tmp_path)) == ""

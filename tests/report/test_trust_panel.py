"""The panel says what `trust.json` holds, and where something is not measured what measures it."""

import json

import pytest

from hwnas.report import read_findings, write_report
from hwnas.report.trust import collapse, drawn_against_own, probabilities, ranks, rows_of_checks
from hwnas.storage import Journal


def test_every_check_has_its_verdict_and_its_figures(run):
    rows = {row[0]: row[1:3] for row in rows_of_checks(read_findings(run))}
    verdicts = [verdict for verdict, _ in rows.values()]
    assert verdicts == ["good", "good", "unclear", "bad", "bad", "bad"]
    text = " ".join(told for _, told in rows.values())
    for told in (
        "likelihood of 0.5700; the same for every class would be 0.1000. That is 76 % of",
        "Best of 4 candidates 0.5700; the best of 4 random ones is expected at 0.5250 (0.5100 to 0.5300)",
        "the best of which has 0.5300",
        "+2.0 points (-1.2 to +4.6) on 1000 test images",
        "Kendall's tau 0.25 (-0.50 to 0.75) on 2 networks",
        "Skips end at 90.0 % of where they are offered; random networks within the limits have 10.0 %",
        "the search has collapsed",
        "gap +25.0 points",
    ):
        assert told in text, told


@pytest.mark.parametrize(
    ("name", "advice"),
    [("ranking", "trust --out RUN --rank-networks"), ("trained", "hwnas train"), ("baseline", "is random search")],
)
def test_what_is_not_measured_is_told_with_the_command_that_does(run, edit, name, advice):
    edit("trust.json", **{name: {"verdict": "not measured"}})
    assert any(row[1] == "not measured" and advice in row[2] for row in rows_of_checks(read_findings(run)))
    assert "not measured" in write_report(run).read_text()


def test_figures_hold_the_points(run, edit):
    found = read_findings(run)
    assert '"x":[0.3,0.4],"y":[0.8,0.9]' in ranks(found)
    assert '"y":[0.1,0.9]' in collapse(found)
    assert '"x0":0.51' in drawn_against_own(found)
    nothing = {"verdict": "not measured"}
    edit("trust.json", baseline=nothing, ranking=nothing, collapse=nothing)
    found = read_findings(run)
    assert ranks(found) == collapse(found) == drawn_against_own(found) == ""


def test_architecture_parameters_are_drawn_over_time(run):
    found = read_findings(run)
    assert probabilities(found) == ""
    table = [[1 / len(d.choices)] * len(d.choices) for d in found.decisions]
    Journal(run / "supernet.jsonl").append({"epoch": 2, "loss": 1.5, "expected_ms": 2.5, "probabilities": table})
    figure = probabilities(read_findings(run))
    assert "skips end at 14.3 %" in figure
    assert '"name":"k7e6"' in figure
    assert '"name":"expected latency \\u002f budget"' in figure or "expected latency / budget" in figure
    assert figure in write_report(run).read_text()


def test_every_decision_has_a_panel_with_its_choices_over_time(run):
    decisions = read_findings(run).decisions
    tables = [[[share, *[0.01] * (len(d.choices) - 1)] for d in decisions] for share in (0.125, 0.875)]
    tables[1][-1][1] = 0.4375
    for epoch, table in enumerate(tables, start=2):
        Journal(run / "supernet.jsonl").append({"epoch": epoch, "expected_ms": 2.0, "probabilities": table})
    figure = probabilities(read_findings(run))
    assert all(f'"text":"{d.name}"' in figure for d in decisions)
    assert figure.count('"type":"heatmap"') >= len(decisions)
    assert figure.count('"x":[2,3]') >= len(decisions)
    first, *others = (f"[[0.125,0.875],{rest}" for rest in ("[0.01,0.01]", "[0.01,0.4375]"))
    assert (figure.count(first), [figure.count(other) for other in others]) == (len(decisions) - 1, [1])


def test_the_fixture_has_the_keys_that_the_stage_writes(run):
    checks = ["learnt", "baseline", "trained", "ranking", "collapse", "gap"]
    assert list(json.loads((run / "trust.json").read_text())) == checks

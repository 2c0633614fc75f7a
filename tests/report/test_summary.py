"""The sentence and the table say what was found, and no more."""

import json

from hwnas.report import headline, read_findings, render_summary, summary_rows
from hwnas.report.summary import undecided


def test_a_row_for_each_network(run):
    rows = summary_rows(run)
    assert [row[0] for row in rows] == ["searched", "best of random search", "MobileNetV2, width-scaled"]
    assert [row[2] for row in rows] == ["1.765 ms", "1.234 ms", "1.732 ms"]
    assert render_summary(run).row_count == 3


def test_the_sentence_names_latency_budget_accuracy_and_baselines(run):
    sentence = headline(read_findings(run))
    for text in (
        "takes 1.765 ms on a phone (fake), within the budget of 2 ms, and reaches 90.0 % test accuracy",
        "the best of random search, at 1.234 ms, reaches 70.0 % test accuracy",
        "width-scaled MobileNetV2, at about the same latency, 1.732 ms, reaches 89.0 % test accuracy",
    ):
        assert text in sentence, sentence


def test_a_broken_budget_is_told(run, edit):
    edit("feasible.json", budget_ms=1.75)
    assert "slightly over the budget of 1.75 ms" in headline(read_findings(run))


def test_overlapping_intervals_are_told(run):
    text = undecided(read_findings(run))
    assert "overlaps with that of width-scaled MobileNetV2:" in text
    assert "random" not in text


def test_without_a_selection_there_is_no_row(run):
    (run / "selection.json").unlink()
    assert summary_rows(run) == []
    assert "no network is selected yet" in headline(read_findings(run))


def test_accuracy_on_corrupted_images_stands_beside_the_usual_one(run, edit):
    trained = json.loads((run / "train.json").read_text())
    edit("train.json", winner={**trained["winner"], "corrupted_test_accuracy": 0.5})
    winner, *others = summary_rows(run)
    assert winner[1].endswith("), corrupted 50.0 %")
    assert not any("corrupted" in row[1] for row in others)

"""The page: complete where the run is, silent where it is not, self-contained, and escaped."""

import re

import pytest

from hwnas.report import SECTIONS, write_report


def test_everything_is_in_it_and_nothing_is_fetched(run):
    page = write_report(run).read_text()
    for text in ("1.765", "90.0 % (88.0 to 91.7)", "missed by 2.5 % on average and 5.2", "model.onnx", "torch 2.14.1"):
        assert text in page, text
    for text in ("9 ms is over 2 ms", "a phone", "25.12 %", "the device was noisy", "outside the layers", *SECTIONS):
        assert text in page, text
    assert "not run yet" not in page
    assert not re.search(r'<(script|link|img|iframe)[^>]+(src|href)\s*=\s*"?https?:', page)
    assert "default-src 'none'" in page
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page


def test_how_much_of_the_budget_had_to_be_used_is_told_where_it_was_asked(run, edit):
    assert "of the latency)" not in write_report(run).read_text()
    edit("feasible.json", budget_use=0.97)
    assert "(latency_upper_ms at most 2, at least 97.0 % of the latency)" in write_report(run).read_text()


def test_every_candidate_has_its_layers_on_hover(run):
    page = write_report(run).read_text()
    assert page.count("stage0: ") >= 8
    assert "accuracy 0.5700, 1.5 ms" in page


@pytest.mark.parametrize(
    "name",
    [
        *(
            "selection.json",
            "train.json",
            "predictor.json",
            "trust.json",
            "feasible.json",
            "measure.json",
            "export.json",
        ),
        *("trials.jsonl", "supernet.jsonl", "events.jsonl", "images/splits.json", "config.json", "compute.json"),
    ],
)
def test_a_stage_that_has_not_run_leaves_no_error(run, name):
    (run / name).unlink()
    assert "hwnas report" in write_report(run).read_text()


def test_a_stage_that_has_not_run_says_so(run):
    (run / "predictor.json").unlink()
    page = write_report(run).read_text()
    assert 'Predicted against measured</h2><p class="soft">not run yet' in page


def test_a_cut_off_journal_is_read_as_far_as_it_goes(run):
    path = run / "trials.jsonl"
    path.write_text(path.read_text()[:-30])
    assert "7 super-network candidates" in write_report(run).read_text()


def test_an_empty_run_gives_an_empty_report(tmp_path):
    assert write_report(tmp_path).read_text().count("not run yet") == len(SECTIONS)


def test_finalists_are_told_in_the_order_of_their_training_with_the_super_networks_place(run):
    page = write_report(run).read_text()
    section = page[page.index("<h3>Finalists</h3>") :]
    rows = [re.sub("<[^>]*>", "|", row) for row in section[: section.index("</table>")].split("<tr>")[2:]]
    assert ["0.7100" in row and "|2|" in row and "|random|" in row for row in rows] == [True, False]
    assert all(told in rows[1] for told in ("0.6900", "|1|", "evolution and random"))
    assert "for 3 epochs" in section


def test_a_run_without_finalists_has_no_table_of_them(run, edit):
    edit("front.json", finalists={"asked": 1, "networks": []})
    assert "<h3>Finalists</h3>" not in write_report(run).read_text()

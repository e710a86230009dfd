"""Tables of made-up runs: the best in bold, the paper's figures beside, errors where they belong."""

import csv
import json

import cv2
import pytest
from test_benchmark.made import GANET, LSTR, OURS, OWN, QDROP, failed, finished, grid, unstarted

from mmsf.benchmark import Detector
from mmsf.benchmark.report import write_tables
from mmsf.errors import UserError

ALL, HALF, QUARTER = [1] * 8, [1, 0] * 4, [1, 0, 0, 0] * 2


def rows(text: str, heading: str | None = None) -> list[list[str]]:
    """Cells of the first table, or of the one below a heading."""
    part = text if heading is None else text.partition(f"## {heading}")[2]
    lines = part[part.index("|") :].partition("\n\n")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def table(tmp_path, runs, **changes) -> str:
    return write_tables(tmp_path, grid(**changes), runs)


def test_the_best_is_bold_whichever_method_it_is(tmp_path):
    runs = [
        finished(tmp_path, LSTR, OURS, QUARTER),
        finished(tmp_path, LSTR, QDROP, HALF),
        finished(tmp_path, GANET, OURS, HALF),
        finished(tmp_path, GANET, QDROP, QUARTER),
        finished(tmp_path, LSTR, OURS, HALF, bits="w8a8"),
    ]
    found = rows(table(tmp_path, runs, bits=("w8a8", "w4a4")))
    bold = {(row[0], row[1], column) for row in found for column in (2, 3) if "**" in row[column]}
    assert bold == {("W4A4", "QDrop", 2), ("W4A4", "Selective Focus", 3), ("W8A8", "Selective Focus", 2)}


def test_methods_that_show_the_same_figure_share_the_bold(tmp_path):
    found = rows(table(tmp_path, [finished(tmp_path, LSTR, OURS, HALF), finished(tmp_path, LSTR, QDROP, HALF)]))
    assert [row[2].startswith("**50.00**") for row in found[3:]] == [True, True, False]


def test_the_papers_figure_stands_beside_its_own_cell(tmp_path):
    found = rows(table(tmp_path, [finished(tmp_path, LSTR, OURS, HALF)]))
    assert found[0] == ["Bits", "Method", "LSTR (LSTR Small)", "GANet (GANet Small)"]
    assert found[2][:2] == ["Full Precision", "Model Baseline"]
    assert found[2][2].startswith("87.50 ± ")
    assert [cell.rpartition(" ")[2] for cell in found[2][2:]] == ["(68.78)", "(78.79)"]
    assert found[3][2].endswith("(34.65)")
    assert found[3][3] == "– (76.31)"
    assert found[4][2:] == ["– (23.95)", "– (76.76)"]
    assert found[5][2:] == ["–", "–"]


def test_a_network_that_is_the_papers_own_is_named_once(tmp_path):
    own = Detector("lstr", "lstr.py", title="LSTR Small", paper="LSTR Small")
    text = table(tmp_path, [finished(tmp_path, own, OURS, HALF)], detectors=(own,))
    assert rows(text)[0] == ["Bits", "Method", "LSTR Small"]
    assert "another than ours" not in text


def test_what_stands_in_brackets_and_the_note_are_told_above_the_table(tmp_path):
    text = table(tmp_path, [finished(tmp_path, LSTR, OURS, HALF)], note="Other frames than the paper's.")
    above = text.partition("| Bits")[0]
    assert "Other frames than the paper's." in above
    assert "In brackets: the figures of the paper's Table 1, which are of CULane" in above
    assert "the paper's network where it is another than ours" in above
    heads = [rows(text, heading)[0] for heading in ("F1 minus", "Minutes of quantization")]
    assert heads == [["Bits", "Method", "LSTR", "GANet"]] * 2  # neither has a figure of Table 1 beside


def test_without_the_papers_table_nothing_stands_beside(tmp_path):
    text = table(tmp_path, [finished(tmp_path, LSTR, OURS, HALF)], table=None)
    assert "(" not in text.partition("| Bits")[2]


def test_standard_errors_join_frames_and_seeds(tmp_path):
    runs = [finished(tmp_path, LSTR, OURS, found, seed=seed) for seed, found in enumerate((HALF, QUARTER))]
    runs.append(finished(tmp_path, LSTR, QDROP, HALF))
    table(tmp_path, runs)
    content = json.loads((tmp_path / "cells.json").read_text())
    ours, qdrop = (mean["f1"] for mean in content["means"])
    assert ours["value"] == pytest.approx(0.375)
    assert ours["seeds_error"] == pytest.approx(0.125)  # 0.5 and 0.25: half their distance
    assert ours["standard_error"] ** 2 == pytest.approx(ours["frames_error"] ** 2 + 0.125**2)
    assert qdrop["seeds_error"] == 0
    (difference,) = content["differences"]
    assert (difference["method"], difference["other"]) == ("ours", "qdrop")
    assert difference["f1_difference"]["value"] == pytest.approx(-0.125)
    assert difference["f1_difference"]["seeds_error"] == pytest.approx(0.125)


def test_the_best_is_set_against_the_second(tmp_path):
    runs = [finished(tmp_path, LSTR, m, found) for m, found in ((OURS, QUARTER), (QDROP, ALL), (OWN, HALF))]
    _, _, row = rows(table(tmp_path, runs), "Best minus second best")
    assert row[:4] == ["W4A4", "LSTR", "QDrop", "Own"]
    assert row[4].startswith("50.00 ± ")


def test_the_difference_to_the_float_model_has_its_own_paired_error(tmp_path):
    as_float = [1] * 7 + [0]
    text = table(tmp_path, [finished(tmp_path, LSTR, OURS, as_float), finished(tmp_path, LSTR, QDROP, HALF)])
    found = rows(text, "F1 minus the float model's")
    assert found[2][2] == "0.00 ± 0.00"
    assert found[3][2].startswith("-37.50 ± ")


def test_minutes_leave_evaluation_out_and_show_the_papers(tmp_path):
    text = table(tmp_path, [finished(tmp_path, GANET, OURS, HALF, minutes=3)], table=2, detectors=(GANET,), methods=(OURS,))
    assert rows(text, "Minutes of quantization")[2] == ["W4A4", "Selective Focus", "3.0 (32)"]


def test_what_failed_is_told_and_the_rest_stands(tmp_path):
    runs = [finished(tmp_path, LSTR, OURS, HALF), failed(tmp_path, LSTR, QDROP, "it broke"), unstarted(tmp_path, GANET, OWN)]
    text = table(tmp_path, runs)
    assert "## Failed\n\n- lstr w4a4 qdrop seed 0: it broke\n" in text
    assert "**50.00**" in text
    with open(tmp_path / "cells.csv", newline="") as file:
        records = {(row["detector"], row["method"]): row for row in csv.DictReader(file)}
    assert {key: row["status"] for key, row in records.items()} == {
        ("lstr", "ours"): "finished",
        ("lstr", "qdrop"): "failed",
        ("ganet", "own"): "unfinished",
    }
    assert records["lstr", "qdrop"]["error"] == "it broke"


def test_a_record_holds_what_fair_comparisons_need(tmp_path):
    table(tmp_path, [finished(tmp_path, LSTR, OURS, HALF)])
    with open(tmp_path / "cells.csv", newline="") as file:
        (record,) = csv.DictReader(file)
    expected = dict(
        detector="lstr",
        method="ours",
        bits="w4a4",
        seed="0",
        f1_float="0.875",
        f1_calibrated="0.25",
        f1_quantized="0.5",
        f1_minus_float="-0.375",
        iterations="5",
        batch_size="4",
        sample_passes="20.0",
        peak_memory_mb="600.0",
        quantization_seconds="60.0",
        paper_f1="0.3465",
        paper_network="LSTR Small, CULane",
    )
    assert {key: record[key] for key in expected} == expected
    assert (record["seconds, tuning"], record["seconds, evaluation, quantized"]) == ("40.0", "7.0")
    assert 0 < float(record["f1_standard_error"]) < 0.5


def test_the_plot_is_a_picture(tmp_path):
    table(tmp_path, [finished(tmp_path, LSTR, OURS, HALF)])
    assert cv2.imread(str(tmp_path / "plot.png")).std() > 1


def test_runs_on_different_frames_are_not_compared(tmp_path):
    runs = [finished(tmp_path, LSTR, OURS, HALF), finished(tmp_path, LSTR, QDROP, HALF, names="abcdefgh")]
    with pytest.raises(UserError, match="different frames"):
        table(tmp_path, runs)
    assert not (tmp_path / "table.md").exists()


def test_bits_that_nothing_ran_at_are_left_out(tmp_path):
    found = rows(table(tmp_path, [finished(tmp_path, LSTR, OURS, HALF)], bits=("w8a8", "w4a4")))
    assert {row[0] for row in found[3:]} == {"W4A4"}


def test_a_table_of_nothing_says_so(tmp_path):
    text = table(tmp_path, [])
    assert "No run is finished." in text
    assert not (tmp_path / "plot.png").exists()

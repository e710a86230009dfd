"""The table of results."""

from test_visualization.inputs import SUMMARY

from mmsf.visualization import main_metrics, results_table


def test_f1_comes_first_and_side_figures_stay_out():
    assert main_metrics(SUMMARY) == ["TuSimple/F1", "TuSimple/accuracy", "TuSimple/FP", "TuSimple/FN"]


def test_figures_over_all_frames_come_before_those_of_a_category():
    own = ("fn", "night/F1", "night/fp", "precision", "F1", "recall", "cross/fp", "tp")
    keys = ["F1", "precision", "recall", "fn", "night/F1"]
    assert main_metrics({"float": {f"CULane/{key}": 1 for key in own}}, limit=5) == [f"CULane/{key}" for key in keys]


def test_counts_are_whole_numbers_and_measures_have_four_places():
    table = results_table({"float": {"CULane/F1": 1.0, "CULane/fp": 0, "CULane/fn": 75123}})
    assert table.splitlines()[2].split() == ["float", "1.0000", "0", "75,123"]


def test_metrics_of_no_known_name_are_shown_as_they_are():
    assert main_metrics({"float": {"IoU/road": 0.9}, "quantized": {"IoU/road": 0.8, "IoU/lane": 0.7}}) == [
        "IoU/road",
        "IoU/lane",
    ]


def test_the_console_table_is_aligned_and_complete():
    lines = results_table(SUMMARY).splitlines()
    assert [line.split()[0] for line in lines[2:5]] == ["float", "calibrated", "quantized"]
    assert len({len(line) for line in lines[:5]}) == 1
    assert lines[0].split() == ["W4A4", *main_metrics(SUMMARY)]
    assert lines[4].split()[1:] == ["0.9550", "0.9500", "0.0400", "0.0500"]
    assert lines[5] == "quantized against float lanes: f1 0.9700, mean distortion 0.0380"


def test_a_model_that_was_not_measured_has_no_row():
    table = results_table({"weight_bits": 8, "activation_bits": 8, "float": {"F1": 0.5}, "quantized": {"F1": 0.25}})
    assert [line.split() for line in table.splitlines()[2:]] == [["float", "0.5000"], ["quantized", "0.2500"]]


def test_a_metric_that_a_model_lacks_is_a_dash():
    table = results_table({"float": {"F1": 0.5}, "quantized": {"F1": 0.5, "recall": 1.0}})
    assert table.splitlines()[2].split() == ["float", "0.5000", "–"]


def test_a_run_without_labels_still_has_a_table():
    assert "f1 0.9000" in results_table({"weight_bits": 4, "activation_bits": 8, "agreement": {"f1": 0.9}})

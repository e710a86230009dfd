"""What a benchmark's config and the command line choose."""

from pathlib import Path

import pytest
from test_benchmark.made import GANET, LSTR, OURS, OWN, QDROP, grid

from mmsf.benchmark import Method, read_grid
from mmsf.benchmark.paper import METHODS
from mmsf.engine.config import apply_options, with_preset
from mmsf.errors import UserError
from mmsf.registry import HOOKS, MODELS

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "configs" / "benchmark"
MINIMAL = """\
title = "A few"
detectors = [dict(name="lstr", config="lstr.py")]
methods = [dict(name="paper")]
bits = ["W4A4"]
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "few.py"
    path.write_text(text)
    return path


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.py")), ids=lambda path: path.stem)
def test_every_benchmark_reads(path):
    assert len(read_grid(path).cells()) >= 4


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ('methods = ["omse"]', "methods: 'omse' must be a dict"),
        ('bits = "w4a4"', "bits must be a list; got 'w4a4'"),
        ("seeds = 3", "seeds must be a list; got 3"),
        ('options = ["a"]', "options must be a dict of settings"),
    ],
)
def test_what_has_another_form_than_it_must_is_one_clear_line(more, said, tmp_path):
    with pytest.raises(UserError, match=said):
        read_grid(written(tmp_path, MINIMAL + more + "\n"))


def test_table_1_on_culane_has_the_papers_columns_and_methods():
    found = read_grid(CONFIGS / "table1_culane.py")
    assert len({detector.paper for detector in found.detectors} - {None}) == len(found.detectors) == 14
    assert {method.paper for method in found.methods} == {"ACIQ", "OMSE", "AdaRound", "BRECQ", "QDrop", "Ours"}
    for detector in found.detectors:
        assert (ROOT / detector.config).is_file()


@pytest.mark.parametrize("number", [1, 2, 3])
def test_the_small_tables_have_the_papers_figures_and_say_whose_they_are(number):
    found = read_grid(CONFIGS / f"table{number}_tiny.py")
    assert found.table == number
    assert "cannot be compared" in found.note
    assert {detector.paper for detector in found.detectors} == {f"{detector.title} Small" for detector in found.detectors}
    known = METHODS[number] - {"W8A8"}
    # A method of ours that the paper does not have stands without a figure.
    assert {method.paper for method in found.methods} - {None} == known


@pytest.mark.parametrize("name", ["convergence_tiny", "equal_effort_tiny"])
def test_every_rung_of_the_ladder_is_as_long_as_it_says(name):
    tuned = [method for method in read_grid(CONFIGS / f"{name}.py").methods if method.curve != method.title]
    assert len({method.curve for method in tuned}) == 5
    for method in tuned:
        options = {key.rpartition(".")[2]: value for key, value in method.options.items()}
        per_frame = options.get("max_iters") or options["iterations"] + options.get("scale_iterations", 0)
        assert method.name == f"{method.preset}-{8 * per_frame}"
        assert options.get("batch_size", 8) == 8
        assert options.get("T_max", per_frame) == per_frame


def built(method: Method) -> tuple:
    """The loss and the sensitivity hook of a method, at W4A4."""
    lstr = ROOT / "configs" / "lstr" / "lstr_tiny_synthetic.py"
    config = with_preset(lstr, method.preset, "w4a4", ROOT / "configs" / "_base_" / "ptq")
    apply_options(config, method.options)
    return MODELS.build(config.model.loss), HOOKS.build(config.custom_hooks[0])


@pytest.mark.parametrize("name", ["table2_tiny", "table2_culane"])
def test_the_ablation_takes_away_what_it_says(name):
    methods = {method.name: built(method) for method in read_grid(CONFIGS / f"{name}.py").methods}
    without_focus = {name for name, (loss, _) in methods.items() if loss.focus_power == 0}
    # Every head has weight 1, whichever is selected, and none is ranked while tuning.
    without_selection = {name for name, (_, hook) in methods.items() if hook.rest_weight == 1 and hook.interval > 5000}
    assert without_focus == {"no-focus", "neither"}
    assert without_selection == {"no-selection", "neither"}


def test_the_sweep_covers_k_and_lambda():
    found = [built(method) for method in read_grid(CONFIGS / "sweep_k_lambda.py").methods]
    assert {(hook.k, loss.confidence_weight) for loss, hook in found} == {(k, w) for k in (1, 2, 3) for w in (1, 2, 4, 8)}


def test_defaults_follow_from_the_names(tmp_path):
    found = read_grid(written(tmp_path, MINIMAL))
    (method,) = found.methods
    assert (found.detectors[0].title, method.title, method.preset) == ("lstr", "paper", "paper")
    assert (found.bits, found.seeds, found.table) == (("w4a4",), (0,), None)


def test_a_whole_table_for_one_seed_comes_before_the_next_seed():
    cells = grid(seeds=(3, 4)).cells()
    assert [cell.seed for cell in cells] == [3] * 6 + [4] * 6


def test_a_method_that_draws_nothing_runs_once():
    ranges = Method("ranges", draws=False)
    cells = grid(methods=(OURS, ranges), detectors=(LSTR,), seeds=(1, 2)).cells()
    assert [(cell.method.name, cell.seed) for cell in cells] == [("ours", 1), ("ours", 2), ("ranges", 0)]


def test_a_part_keeps_what_is_not_chosen_from():
    part = grid().part(detectors=["ganet"], methods=["own", "ours"], bits=["W8A8"], seeds=[7])
    assert (part.detectors, part.methods) == ((GANET,), (OWN, OURS))
    assert (part.bits, part.seeds, part.table) == (("w8a8",), (7,), 1)
    assert grid().part() == grid()


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        (dict(detectors=["scnn"]), "no detector 'scnn' in this benchmark; its detectors are lstr, ganet"),
        (dict(methods=["brecq"]), "no method 'brecq' in this benchmark; its methods are ours, qdrop, own"),
    ],
)
def test_a_name_that_is_not_there_is_told_with_those_that_are(chosen, message):
    with pytest.raises(UserError, match=message):
        grid().part(**chosen)


def test_files_of_the_command_line_go_to_every_detector_but_weights_to_one():
    moved = grid().with_files(data_root="elsewhere", calibration_root=["a", "b"])
    assert {(d.data_root, *d.calibration_root) for d in moved.detectors} == {("elsewhere", "a", "b")}
    assert grid(detectors=(LSTR,)).with_files(checkpoint="lstr.pth").detectors[0].checkpoint == "lstr.pth"
    with pytest.raises(UserError, match="--detectors"):
        grid().with_files(checkpoint="lstr.pth")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (MINIMAL.replace('bits = ["W4A4"]', ""), "has no bits"),
        (MINIMAL.replace('dict(name="paper")', 'dict(name="paper", iterations=5)'), "iterations.*the keys are name, preset"),
        (MINIMAL.replace('dict(name="paper")', 'dict(preset="paper")'), "name"),
        (MINIMAL.replace('name="paper"', 'name="../paper"'), "no name of a folder"),
        (MINIMAL.replace('dict(name="paper")', 'dict(name="a"), dict(name="a")'), "'a' is there twice"),
        (MINIMAL + "table = 4", "no table 4"),
        (MINIMAL.replace('name="paper"', 'name="paper", paper="Theirs"') + "table = 1", "table 1 has no 'Theirs'"),
    ],
)
def test_a_mistake_in_a_config_is_named(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        read_grid(written(tmp_path, text))


def test_cells_have_folders_of_their_own(tmp_path):
    folders = [cell.folder(tmp_path) for cell in grid(bits=("w8a8", "w4a4"), seeds=(0, 1)).cells()]
    assert len(set(folders)) == len(folders) == 24
    assert folders[1] == tmp_path / "cells" / "lstr" / "w8a8" / QDROP.name / "seed0"

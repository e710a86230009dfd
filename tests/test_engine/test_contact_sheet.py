"""`tools/contact_sheet.py`: one row a detector, float and quantized panels of every picture."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from test_engine.runs import CHECKPOINT, FLOAT_CONFIG, ROOT


@pytest.fixture(scope="module")
def pictures(roads) -> list[Path]:
    return sorted((roads / "test").rglob("*.jpg"))[:2]


def white_lines(panel: np.ndarray) -> int:
    """How many pixels are pure white."""
    return int((panel == 255).all(-1).sum())


def test_a_sheet_has_two_panels_a_picture_and_a_row_a_detector(command, pictures, finished, tmp_path):
    other = ("SCNN", ROOT / "configs/scnn/scnn_tiny_synthetic.py", *[ROOT / "mmsf/zoo/scnn_tiny_synthetic.pth"] * 2)
    lstr = ("LSTR", FLOAT_CONFIG, CHECKPOINT, finished / "quantized.pth")
    out = tmp_path / "new" / "sheet.png"
    options = ("--pictures", *pictures, "--detector", *lstr, "--detector", *other, "--width", 320, "--out", out)
    status, _, errors = command("contact_sheet", *options)
    assert status == 0, errors
    sheet = cv2.imread(str(out))
    rows, columns = 2, 2 * len(pictures)
    assert sheet.shape[1] == pytest.approx(columns * 320, abs=8 * columns)
    assert sheet.shape[0] == pytest.approx(rows * (320 * 590 / 1640 + 44), abs=2 * rows)
    # White float lanes lie below those of the other weights, which hide them where they are the same, as SCNN's here.
    lstr_row, scnn_row = sheet[44 : 44 + 115], sheet[-115:]
    assert white_lines(lstr_row[:, 328:648]) > 2 * white_lines(lstr_row[:, :320])
    assert white_lines(scnn_row[:, 328:648]) < 2 * white_lines(scnn_row[:, :320]) + 100


@pytest.mark.parametrize("missing", ["picture", "config", "float weights", "quantized weights"])
def test_a_missing_file_is_one_line_and_no_sheet(command, missing, pictures, tmp_path):
    names = ["picture", "config", "float weights", "quantized weights"]
    given = dict(zip(names, [pictures[0], FLOAT_CONFIG, CHECKPOINT, CHECKPOINT]), **{missing: tmp_path / "nowhere.file"})
    picture, *detector = (given[name] for name in names)
    out = tmp_path / "sheets" / "sheet.jpg"
    status, _, errors = command("contact_sheet", "--pictures", picture, "--detector", "LSTR", *detector, "--out", out)
    assert status == 2
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1
    assert "nowhere.file" in errors
    assert not list(tmp_path.rglob("*.*"))


def test_a_truncated_picture_is_one_line_and_no_sheet(command, pictures, tmp_path):
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(pictures[0].read_bytes()[:5000])
    options = ("--pictures", pictures[0], cut, "--detector", "LSTR", FLOAT_CONFIG, CHECKPOINT, CHECKPOINT)
    status, _, errors = command("contact_sheet", *options, "--out", tmp_path / "sheet.jpg")
    assert status == 2
    assert errors == f"error: {cut} is truncated or no image; replace it or take it out\n"
    assert [path.name for path in tmp_path.iterdir()] == ["cut.jpg"]


def test_an_ending_that_is_no_pictures_is_refused(command, pictures, tmp_path):
    options = ("--pictures", pictures[0], "--detector", "LSTR", FLOAT_CONFIG, CHECKPOINT, CHECKPOINT)
    status, _, errors = command("contact_sheet", *options, "--out", tmp_path / "sheet.gif")
    assert status == 2
    assert "use the ending .png or .jpg" in errors
    assert list(tmp_path.iterdir()) == []

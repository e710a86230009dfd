"""The HTML report: well formed, complete, and on its own."""

import base64
import math
import re
from html.parser import HTMLParser

import pytest
from test_visualization.inputs import ANALYSIS, SENSITIVITY, SUMMARY, road, straight

from mmsf.errors import UserError
from mmsf.visualization import Frame, next_step, write_overlays, write_report

VOID = {"meta", "img", "br", "hr", "link", "input"}


class StrictParser(HTMLParser):
    """Refuses tags that do not close in order; keeps what the page refers to."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.text, self.identifiers, self.references = [], [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"<{tag}> repeats an attribute"
        self.tags.append(tag)
        for name, value in attrs:
            if name == "id":
                self.identifiers.append(value)
            elif name in ("src", "href", "xlink:href"):
                self.references.append(value)
            if name in ("style", "clip-path"):
                self.references += re.findall(r"url\(([^)]*)\)", value)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def parse(path):
    page = path.read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>")
    parser = StrictParser()
    parser.feed(page)
    parser.close()
    assert parser.open == []
    return parser


@pytest.fixture
def overlays(tmp_path):
    lanes = {"float": [straight(100)], "quantized": [straight(110)]}
    return write_overlays(tmp_path / "overlays", [Frame("clip <1>/00000.jpg", road(), lanes)])


def test_the_page_is_well_formed_and_its_identifiers_are_unique(tmp_path, overlays):
    write_report(tmp_path / "report.html", SUMMARY, SENSITIVITY, overlays)
    page = parse(tmp_path / "report.html")
    assert len(page.identifiers) == len(set(page.identifiers))
    assert page.tags.count("svg") == 3
    assert page.tags.count("img") == 1


def test_a_frame_may_have_a_name_that_is_no_text(tmp_path):
    overlays = write_overlays(tmp_path / "overlays", [Frame("bad\udce9name.jpg", road(), {"float": [straight(100)]})])
    write_report(tmp_path / "report.html", SUMMARY, SENSITIVITY, overlays)
    assert any("bad?name.jpg" in text for text in parse(tmp_path / "report.html").text)


def test_the_page_needs_nothing_but_itself(tmp_path, overlays):
    write_report(tmp_path / "report.html", SUMMARY, SENSITIVITY, overlays)
    page = parse(tmp_path / "report.html")
    inside = {f"#{identifier}" for identifier in page.identifiers}
    assert all(reference in inside or reference.startswith("data:image/") for reference in page.references)
    assert not {"script", "link", "iframe"} & set(page.tags)


def test_the_page_carries_the_picture_unchanged(tmp_path, overlays):
    write_report(tmp_path / "report.html", SUMMARY, SENSITIVITY, overlays)
    (uri,) = [reference for reference in parse(tmp_path / "report.html").references if reference.startswith("data:")]
    kind, data = uri.split(",")
    assert kind == "data:image/jpeg;base64"
    assert base64.b64decode(data) == overlays[0][1].read_bytes()


def test_the_page_tells_what_the_summary_tells(tmp_path, overlays):
    write_report(tmp_path / "report.html", SUMMARY, SENSITIVITY, overlays)
    text = parse(tmp_path / "report.html").text
    expected = [
        "W4A4, selective-focus", "TuSimple/F1", "0.9650", "0.7000", "0.9550", "99.0 %", "−0.0100", "shape", "25 %", "512",
        "5 min 11 s", "2.13.0", "head.<last>", "clip <1>/00000.jpg", "1.3000", "0.7200", "98.0 %", "Bits of the 2 layers",
    ]  # fmt: skip
    assert [words for words in expected if words not in text] == []


@pytest.mark.parametrize(
    ("float_f1", "quantized_f1", "told"),
    [
        *((0.8, 0.6, "75.0 %"), (0.8, 0.0, "0.0 %")),
        *((-1.0, -1.0, None), (-1.0, 0.0, None), (0.0, 0.5, None), (0.8, -1.0, None)),
        *((math.nan, 0.5, None), (0.5, math.nan, None), (0.5, None, None)),
    ],
)
def test_a_share_of_the_float_f1_is_told_only_where_there_is_one(float_f1, quantized_f1, told, tmp_path):
    summary = dict(float={"CULane/F1": float_f1}, quantized={"CULane/F1": quantized_f1})
    write_report(tmp_path / "report.html", summary)
    text = parse(tmp_path / "report.html").text
    assert ("of float CULane/F1 kept" in text) == (told is not None)
    assert told is None or told in text
    assert "-0.0 %" not in text


@pytest.mark.parametrize(
    ("profile", "told"),
    [
        ("onnxruntime", "8-bit integer, in ONNX Runtime"),
        ("openvino", "8-bit integer, in OpenVINO"),
        ("tensorrt", "8-bit integer, in TensorRT"),
        (
            "academic",
            "none: no backend runs this profile; quantize again with model.quantizer.profile=onnxruntime, openvino or "
            "tensorrt",
        ),
    ],
)
def test_kernels_are_those_that_run_the_profile(profile, told, tmp_path):
    summary = dict(SUMMARY, profile=profile, weight_bits=8, activation_bits=8, mac_share={"8/8": 0.98, "float/float": 0.02})
    write_report(tmp_path / "report.html", summary)
    assert told in parse(tmp_path / "report.html").text


def test_four_bits_are_called_simulated_and_eight_are_not(tmp_path):
    for bits in (4, 8):
        summary = dict(SUMMARY, weight_bits=bits, activation_bits=bits, mac_share={f"{bits}/{bits}": 1.0})
        write_report(tmp_path / f"{bits}.html", summary)
    pages = [" ".join(parse(tmp_path / f"{bits}.html").text) for bits in (4, 8)]
    assert ["simulated" in page for page in pages] == [True, False]


def test_layers_of_other_bits_in_an_integer_model_are_called_simulated(tmp_path):
    shares = {"8/8": 0.95, "4/4": 0.03, "float/float": 0.02}
    summary = dict(SUMMARY, profile="onnxruntime", weight_bits=8, activation_bits=8, mac_share=shares)
    write_report(tmp_path / "report.html", summary)
    words = " ".join(parse(tmp_path / "report.html").text)
    assert "simulated in part: 3 % of the multiply-accumulates" in words
    assert "8-bit integer" not in words


@pytest.mark.parametrize("part", [*SUMMARY, None])
def test_a_missing_part_leaves_the_page_well_formed(tmp_path, part):
    summary = {key: value for key, value in SUMMARY.items() if part is not None and key != part}
    write_report(tmp_path / "report.html", summary)
    parse(tmp_path / "report.html")


def test_a_missing_picture_is_named_and_leaves_no_page(tmp_path):
    with pytest.raises(UserError, match=r"gone\.jpg"):
        write_report(tmp_path / "report.html", SUMMARY, overlays=[("gone", tmp_path / "gone.jpg")])
    assert not (tmp_path / "report.html").exists()


def analysed(folder, **parts) -> str:
    """The words of a report on an analysis, in which nothing was tuned."""
    summary = {
        key: value for key, value in SUMMARY.items() if key not in ("quantized", "iterations", "iteration_cost_ratio")
    }
    summary["agreement"] = {"calibrated": SUMMARY["agreement"]["calibrated"]}
    summary["heads"] = {name: {"loss_before": 0.2, "sensitivity": 3.0} for name in ("range", "shape")}
    write_report(folder / "report.html", summary, {**ANALYSIS, **parts})
    return "|".join(parse(folder / "report.html").text)


def test_damage_is_told_for_every_model_that_was_compared(tmp_path):
    write_report(tmp_path / "report.html", SUMMARY)
    both = "|".join(parse(tmp_path / "report.html").text)
    assert "147 points, 44 lanes|31 points, 12 lanes" in both
    assert "372 points, 37 lanes|160 points, 37 lanes" in both
    assert "301 lanes and 3,520 points" in both
    assert "147 points, 44 lanes|31" not in analysed(tmp_path)


def test_layers_are_listed_from_the_most_harmful_down_with_what_they_weigh(tmp_path):
    assert "head.last|28|1.00 %|backbone.conv1|6.5000|15.00 %|neck|0.0000|84.00 %" in analysed(tmp_path)


def test_layers_of_different_bits_have_their_scores_under_their_own(tmp_path):
    layers = {"first": {"8/8": 0.5}, "head": {"4/4": 7.0}}
    told = analysed(tmp_path, layers=layers, layer_shares={"first": 0.25, "head": 0.75})
    assert "layer|distortion at 8/8 bits|distortion at 4/4 bits|multiply-accumulates" in told
    assert "head|–|7.0000|75.00 %|first|0.5000|–|25.00 %" in told


def test_columns_of_a_model_that_was_not_made_are_left_out(tmp_path):
    words = analysed(tmp_path).split("|")
    assert "calibrated" in words
    assert not {"quantized", "quantized − float", "loss after", "selected"} & set(words)


def test_confidences_and_all_heads_together_stand_beside_the_heads(tmp_path):
    assert "confidence lane|–|–|0.5000|all heads|–|–|33.4" in analysed(tmp_path)


def test_the_advice_names_the_head_and_the_layers_and_what_they_win(tmp_path):
    words = analysed(tmp_path)
    assert "The head shape breaks most (alone 30.1 of all heads' 33.4 points a frame)" in words
    assert "put 2 layers, head.last first, at 8 bits (16 % of the multiply-accumulates; distortion 33.4 to 1.2)" in words


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        (dict(all_heads=0.3), "keeps the lanes"),
        (dict(more_bits={}), "tune with tools/ptq.py"),
        (dict(more_bits={**ANALYSIS["more_bits"], "score_with": 32.0}), "wins little"),
        (dict(confidences={"lane": 32.0}), "The confidence lane breaks most"),
        (dict(all_heads=0.0, sees_lanes=False), "give calibration frames that have lanes"),
    ],
)
def test_the_advice_follows_the_figures(tmp_path, parts, words):
    assert words in analysed(tmp_path, **parts)


def test_after_tuning_the_advice_names_the_head_that_still_moves_the_lanes(tmp_path):
    assert "The head shape still moves the lanes most" in next_step(SUMMARY, SENSITIVITY)
    assert next_step({}, {}) is None


def test_foreground_maps_are_carried_by_the_page(tmp_path, overlays):
    write_report(tmp_path / "report.html", SUMMARY, ANALYSIS, foreground=overlays)
    assert parse(tmp_path / "report.html").tags.count("img") == 1

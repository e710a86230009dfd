"""The HTML report: well formed, complete, and on its own."""

import base64
import re
from html.parser import HTMLParser

import pytest
from test_visualization.inputs import SENSITIVITY, SUMMARY, road, straight

from mmsf.errors import UserError
from mmsf.visualization import Frame, write_overlays, write_report

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


def test_four_bits_are_called_simulated_and_eight_are_not(tmp_path):
    for bits in (4, 8):
        write_report(tmp_path / f"{bits}.html", {**SUMMARY, "weight_bits": bits, "activation_bits": bits})
    pages = [" ".join(parse(tmp_path / f"{bits}.html").text) for bits in (4, 8)]
    assert ["simulated" in page for page in pages] == [True, False]


@pytest.mark.parametrize("part", [*SUMMARY, None])
def test_a_missing_part_leaves_the_page_well_formed(tmp_path, part):
    summary = {key: value for key, value in SUMMARY.items() if part is not None and key != part}
    write_report(tmp_path / "report.html", summary)
    parse(tmp_path / "report.html")


def test_a_missing_picture_is_named_and_leaves_no_page(tmp_path):
    with pytest.raises(UserError, match=r"gone\.jpg"):
        write_report(tmp_path / "report.html", SUMMARY, overlays=[("gone", tmp_path / "gone.jpg")])
    assert not (tmp_path / "report.html").exists()

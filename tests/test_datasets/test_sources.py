"""What can be shown to a detector, and what is refused before any work is done."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from mmsf.datasets.images import read_image
from mmsf.datasets.loading import LoadImage
from mmsf.datasets.sources import find_sources
from mmsf.errors import UserError


@pytest.fixture(scope="module")
def frames() -> list[np.ndarray]:
    """Seven plain frames of 64 x 48, each brighter than the one before."""
    return [np.full((48, 64, 3), 30 * number + 20, np.uint8) for number in range(7)]


@pytest.fixture(scope="module")
def video(frames, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("videos") / "clip.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 12.5, (64, 48))
    for frame in frames:
        writer.write(frame)
    writer.release()
    return path


def test_folders_are_searched_in_order_and_named_below_the_folder(frames, tmp_path):
    for name in ("b/2.png", "b/10.png", "a/1.png", ".hidden/3.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / name), frames[0])
    (tmp_path / "a" / "1.lines.txt").touch()
    assert [source.name for source in find_sources([tmp_path])] == ["a/1.png", "b/10.png", "b/2.png"]
    assert [source.name for source in find_sources([tmp_path / "b" / "2.png"])] == ["2.png"]


def test_a_video_gives_its_frames_in_order_with_rate_and_count(video, frames):
    (source,) = find_sources([video])
    assert (source.rate, source.count) == (12.5, 7)
    read = list(source.frames())
    assert [frame.name for frame in read] == [f"clip.mp4/{number:05d}.jpg" for number in range(7)]
    assert [frame.image.mean() for frame in read] == pytest.approx([frame.mean() for frame in frames], abs=6)


def test_an_image_in_memory_becomes_the_network_input_that_its_file_becomes(frames, tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (59, 164, 3), np.uint8)
    path = tmp_path / "noise.png"
    cv2.imwrite(str(path), picture)
    load = LoadImage(scale=(40, 16), backend="pil", crop_top=270)
    read, given = load({"img_path": str(path)}), load({"img": picture})
    assert np.array_equal(read.pop("img"), given.pop("img"))
    assert {**given, "img_path": str(path)} == read


def spoiled(kind: str, video: Path, folder: Path) -> Path:
    path = folder / "clip.mp4"
    content = video.read_bytes()
    path.write_bytes({"empty": b"", "cut": content[: len(content) // 2], "no video": b"nothing" * 99}[kind])
    return path


@pytest.mark.parametrize("kind", ["empty", "cut", "no video"])
def test_a_video_that_cannot_be_read_is_refused_and_ffmpeg_says_nothing(kind, video, tmp_path, capfd):
    path = spoiled(kind, video, tmp_path)
    with pytest.raises(UserError, match=r"clip\.mp4 cannot be read as a video"):
        find_sources([path])
    assert capfd.readouterr() == ("", "")


def test_a_truncated_image_is_found_before_any_is_shown(frames, tmp_path):
    for number in range(3):
        cv2.imwrite(str(tmp_path / f"{number}.jpg"), np.random.default_rng(number).integers(0, 256, (48, 64, 3), np.uint8))
    (tmp_path / "1.jpg").write_bytes((tmp_path / "1.jpg").read_bytes()[:900])
    with pytest.raises(UserError, match=r"1\.jpg is truncated or no image"):
        find_sources([tmp_path])


@pytest.mark.parametrize("ending", [".png", ".bmp", ".jpg", ".webp", ".tif"])
def test_an_image_of_a_few_pixels_is_whole_and_stops_no_folder(ending, frames, tmp_path):
    cv2.imwrite(str(tmp_path / "large.png"), frames[0])
    for height, width in ((3, 500), (500, 3), (4, 4), (1, 1)):
        cv2.imwrite(str(tmp_path / f"{height}x{width}{ending}"), np.full((height, width, 3), 90, np.uint8))
    sources = find_sources([tmp_path])
    assert len(sources) == 5
    assert all(read_image(source.path).size for source in sources)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([], "there is no input"),
        (["nowhere"], "nowhere does not exist"),
        (["notes.txt"], r"notes\.txt is no image .* and no video"),
        (["empty"], "no image in"),
        ([np.zeros((4, 4), np.uint8)], r"uint8 \(4, 4\)"),
        ([np.zeros((4, 4, 3))], "float64"),
    ],
)
def test_what_is_no_image_and_no_video_is_refused(inputs, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("notes.txt").touch()
    Path("empty").mkdir()
    with pytest.raises(UserError, match=message):
        find_sources(inputs)

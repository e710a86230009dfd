"""Original checkpoints are recognised, renamed and loaded strictly, or refused in one line."""

from collections.abc import Callable
from pathlib import Path

import goldens_rule
import pytest
import torch
from mmengine.logging import MessageHub
from originals import ROOT
from torch import nn

from mmsf.errors import UserError
from mmsf.models.checkpoints import FAMILIES, convert, load_float_checkpoint, lstr_model_config, read_checkpoint, recognise
from mmsf.registry import MODELS

Command = Callable[..., tuple[int, str, str]]
AUTHORS = ROOT / "tests" / "data" / "goldens" / "lstr_orig_seed0.npz"

# A few keys of each family's original files.
TELLING = {
    "bezier": ["backbone.conv1.weight", "proj_regression.weight", "simple_flip_2d.proj2_norm.weight"],
    "laneatt": ["backbone.conv1.weight", "conv1.weight", "cls_layer.weight", "reg_layer.weight", "attention_layer.weight"],
    "scnn": ["backbone.conv1.weight", "scnn_layer.conv_d.weight", "lane_classifier.linear1.weight"],
    "resa": ["backbone.conv1.weight", "spatial_conv.conv_d.0.weight", "lane_classifier.linear1.weight"],
    "condlane": ["backbone.conv1.weight", "neck.trans_head.0.weight", "bbox_head.ctnet_head.hm.0.weight"],
    "ganet": ["backbone.conv1.weight", "neck.trans_head.0.weight", "bbox_head.keypts_head.hm.0.weight"],
    "clrnet": ["backbone.model.conv1.weight", "heads.prior_embeddings.weight", "heads.roi_gather.W.weight"],
    "clrernet": ["backbone.model.level0.weight", "bbox_head.anchor_generator.prior_embeddings.weight"],
}


def authors_state() -> dict[str, torch.Tensor]:
    return {key: torch.from_numpy(value) for key, value in goldens_rule.Golden(AUTHORS).state_dict().items()}


def as_the_authors_wrote_it(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """With the wrapper's prefix and the profiler's counts."""
    junk = {"total_ops": torch.zeros(1), "module.layer1.total_params": torch.zeros(1)}
    return {**junk, **{f"module.{key}": value for key, value in state.items()}}


def model() -> nn.Module:
    return MODELS.build(lstr_model_config(convert(authors_state(), "lstr")))


@pytest.fixture
def original(tmp_path: Path) -> Path:
    path = tmp_path / "LSTR.pkl"
    torch.save(as_the_authors_wrote_it(authors_state()), path)
    return path


def test_the_authors_file_loads_strictly_and_says_what_was_dropped(original: Path) -> None:
    notes = load_float_checkpoint(model(), original)
    assert any("module." in note for note in notes)
    assert any("2 operation counts" in note for note in notes)


@pytest.mark.parametrize("container", ["model", "state_dict", "net"])
def test_weights_are_found_in_every_projects_container(container: str, tmp_path: Path) -> None:
    torch.save({container: authors_state(), "epoch": 3}, tmp_path / "checkpoint.pth")
    assert load_float_checkpoint(model(), tmp_path / "checkpoint.pth") == [f"took '{container}' and left epoch"]


def test_a_checkpoint_of_mmengine_loads_with_its_message_hub(tmp_path: Path) -> None:
    hub = MessageHub("test_checkpoints")
    hub.update_scalar("loss", 1.0)
    hub.update_info("iter", 3)
    torch.save({"state_dict": model().state_dict(), "message_hub": hub.state_dict()}, tmp_path / "iter_3.pth")
    load_float_checkpoint(model(), tmp_path / "iter_3.pth")


def test_packed_attention_is_taken_apart_in_the_order_query_key_value() -> None:
    state = authors_state()
    packed = state["transformer.encoder.layers.0.self_attn.in_proj_weight"]
    converted = convert(state, "lstr")
    parts = [converted[f"transformer.encoder.layers.0.self_attn.{name}_proj.weight"] for name in "qkv"]
    assert torch.equal(torch.cat(parts), packed)


def test_converting_twice_changes_nothing_more() -> None:
    once = convert(authors_state(), "lstr")
    twice = convert(once, "lstr")
    assert list(once) == list(twice)
    assert all(torch.equal(once[key], twice[key]) for key in once)


@pytest.mark.parametrize("family", sorted(TELLING))
def test_every_family_is_recognised_by_its_keys_and_refused_by_another_familys_model(family: str, tmp_path: Path) -> None:
    state = {key: torch.zeros(1) for key in TELLING[family]}
    assert recognise(state) == family
    path = tmp_path / "other.pth"
    torch.save({"model": state}, path)
    with pytest.raises(UserError, match=f"looks like {FAMILIES[family].title}, but the config is of LSTR"):
        load_float_checkpoint(model(), path)


def test_another_size_of_the_same_family_is_refused_with_the_first_difference(tmp_path: Path) -> None:
    state = authors_state()
    state["class_embed.weight"], state["class_embed.bias"] = torch.zeros(3, 32), torch.zeros(3)
    torch.save(state, tmp_path / "three_classes.pth")
    with pytest.raises(UserError, match=r"class_embed.weight is \(3, 32\), the model has \(2, 32\)"):
        load_float_checkpoint(model(), tmp_path / "three_classes.pth")


def test_missing_weights_are_named(tmp_path: Path) -> None:
    state = authors_state()
    del state["class_embed.bias"]
    torch.save(state, tmp_path / "partial.pth")
    with pytest.raises(UserError, match=r"class_embed\.bias"):
        load_float_checkpoint(model(), tmp_path / "partial.pth")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e300])
def test_weights_that_are_nan_or_infinite_are_named(value: float, tmp_path: Path) -> None:
    state = {"whole": torch.ones(2), "broken.weight": torch.tensor([1.0, value], dtype=torch.float64)}
    torch.save(state, tmp_path / "broken.pth")
    with pytest.raises(UserError, match=r"broken\.pth: broken\.weight has NaN or infinite numbers"):
        read_checkpoint(tmp_path / "broken.pth")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nothing\.pth is not there"):
        read_checkpoint(tmp_path / "nothing.pth")


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 truncated"])
def test_a_damaged_file_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "bad.pth").write_bytes(content)
    with pytest.raises(UserError, match="cannot be read"):
        read_checkpoint(tmp_path / "bad.pth")


def test_a_truncated_file_is_refused(original: Path) -> None:
    original.write_bytes(original.read_bytes()[:-500])
    with pytest.raises(UserError, match="cannot be read"):
        read_checkpoint(original)


def test_a_file_that_would_run_code_is_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": nn.Linear(1, 1)}, tmp_path / "pickled.pth")
    with pytest.raises(UserError, match="cannot be read"):
        read_checkpoint(tmp_path / "pickled.pth")


def test_a_file_without_weights_is_refused(tmp_path: Path) -> None:
    torch.save({"epoch": 3}, tmp_path / "empty.pth")
    with pytest.raises(UserError, match="holds no weights"):
        read_checkpoint(tmp_path / "empty.pth")


def test_the_tool_writes_a_file_that_loads_as_it_is_and_says_what_it_dropped(
    command: Command, original: Path, tmp_path: Path
) -> None:
    status, printed, errors = command("convert_checkpoint", original, "--out", tmp_path / "lstr.pth")
    assert status == 0, errors
    assert "operation counts" in printed
    written = torch.load(tmp_path / "lstr.pth", weights_only=True)
    model().load_state_dict(written["state_dict"], strict=True)


def test_the_tool_refuses_another_family_in_one_line_and_writes_nothing(
    command: Command, original: Path, tmp_path: Path
) -> None:
    options = ("--out", tmp_path / "resa.pth", "--family", "resa")
    status, _, errors = command("convert_checkpoint", original, *options)
    assert (status, errors) == (2, f"error: {original} looks like LSTR, not RESA\n")
    assert not (tmp_path / "resa.pth").exists()


SMALL = ROOT / "configs" / "lstr" / "lstr_tiny_synthetic.py"
BUNDLED = ROOT / "mmsf" / "zoo" / "lstr_tiny_synthetic.pth"


def test_weights_taken_out_of_a_training_load_as_they_are_and_nothing_else_is_left(command: Command, tmp_path: Path) -> None:
    state = read_checkpoint(BUNDLED).state
    hub = MessageHub("test_weights_taken_out")
    hub.update_scalar("loss", 1.0)
    training = {"state_dict": state, "optimizer": {"state": {0: torch.zeros(9)}}, "message_hub": hub.state_dict()}
    torch.save(training, tmp_path / "iter_9.pth")
    options = ("--config", SMALL, "--out", tmp_path / "new" / "small.pth")
    status, printed, errors = command("convert_checkpoint", tmp_path / "iter_9.pth", *options)
    assert status == 0, errors
    assert f"weights of {SMALL} loaded strictly" in printed
    written = torch.load(tmp_path / "new" / "small.pth", weights_only=True)
    assert written["meta"] == {"config": "lstr_tiny_synthetic"}
    assert set(written) == {"state_dict", "meta"}
    assert list(written["state_dict"]) == list(state)
    assert all(torch.equal(written["state_dict"][key], state[key]) for key in state)


def test_a_family_is_not_asked_for_where_the_config_says_it(command: Command, tmp_path: Path) -> None:
    config = ROOT / "configs" / "lstr" / "lstr_tiny_synthetic.py"
    weights, out = ROOT / "mmsf" / "zoo" / "lstr_tiny_synthetic.pth", tmp_path / "out.pth"
    status, _, errors = command("convert_checkpoint", weights, "--out", out, "--config", config, "--family", "laneatt")
    assert (status, errors) == (2, "error: --family does not go with --config, which says what the file is of\n")
    assert not out.exists()


def test_weights_taken_out_twice_are_the_same(command: Command, tmp_path: Path) -> None:
    for source, out in ((BUNDLED, tmp_path / "once.pth"), (tmp_path / "once.pth", tmp_path / "twice.pth")):
        assert command("convert_checkpoint", source, "--config", SMALL, "--out", out)[0] == 0
    once, twice = (read_checkpoint(tmp_path / name).state for name in ("once.pth", "twice.pth"))
    assert all(torch.equal(once[key], twice[key]) for key in once | twice)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("configs/scnn/scnn_tiny_synthetic.py", "looks like LSTR, but the config is of SCNN"),
        ("configs/lstr/lstr_r34_culane.py", "does not fit the config's model"),
        ("configs/lstr/nothing.py", "configs/lstr/nothing.py does not exist"),
    ],
)
def test_taking_weights_out_with_a_wrong_config_is_refused_in_one_line(
    config: str, message: str, command: Command, tmp_path: Path
) -> None:
    options = ("--config", ROOT / config, "--out", tmp_path / "out" / "small.pth")
    status, _, errors = command("convert_checkpoint", BUNDLED, *options)
    assert status == 2
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1
    assert message in errors
    assert not list(tmp_path.rglob("*.pth"))

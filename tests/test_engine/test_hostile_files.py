"""Files of weights that are damaged, or made to do harm: one line, and nothing in them runs."""

import os
import shutil
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.config import Config
from test_engine.runs import CHECKPOINT, CONFIG, FLOAT_CONFIG

from mmsf.engine.config_text import parse_config
from mmsf.engine.ptq import ptq_config
from mmsf.engine.quantized_file import is_quantized, model_config, read_quantized, write_quantized
from mmsf.engine.storage import newest_checkpoint
from mmsf.errors import UserError
from mmsf.models.checkpoints import FAMILIES, load_float_checkpoint, read_checkpoint, recognise
from mmsf.registry import MODELS


class Harm:
    """Leaves a folder behind where it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


@pytest.fixture
def done(tmp_path) -> Path:
    """What exists once a file has done harm."""
    return tmp_path / "harm"


@pytest.fixture
def hostile(tmp_path, done) -> Path:
    """The weights of the bundled detector, and something that runs code when it is unpickled."""
    path = tmp_path / "hostile.pth"
    torch.save({**torch.load(CHECKPOINT, weights_only=True), "extra": Harm(done)}, path)
    return path


def test_a_pickle_that_runs_code_is_refused_unless_the_flag_trusts_it(hostile, done):
    with pytest.raises(
        UserError, match=r"hostile\.pth cannot be read as weights alone: it holds .*mkdir.*--trust-checkpoint"
    ):
        read_checkpoint(hostile)
    assert newest_checkpoint(hostile.parent) is None
    with pytest.raises(UserError, match="weights alone"):
        is_quantized(hostile)
    assert not done.exists()
    assert "class_embed.weight" in read_checkpoint(hostile, trusted=True).state
    assert done.exists()  # what the flag risks


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("ptq", [CONFIG, "--checkpoint", "FILE", "--work-dir", "WORK"]),
        ("convert_checkpoint", ["FILE", "--config", FLOAT_CONFIG, "--out", "WORK/new.pth"]),
        ("test", [FLOAT_CONFIG, "FILE", "--work-dir", "WORK"]),
        ("train", [FLOAT_CONFIG, "--work-dir", "WORK", "--resume"]),
    ],
)
def test_no_command_runs_what_is_in_a_file(tool, arguments, command, hostile, done, roads, tmp_path):
    (tmp_path / "work").mkdir()
    # What a training resumes from.
    (tmp_path / "work" / "last_checkpoint").write_text(shutil.copy(hostile, tmp_path / "work"))
    given = [str(a).replace("FILE", str(hostile)).replace("WORK", str(tmp_path / "work")) for a in arguments]
    if tool != "convert_checkpoint":
        given += ["--data-root", roads / "test"]
    if tool == "train":
        given += ["--cfg-options", f"train_dataloader.dataset.data_root={roads / 'train'}"]
        given += ["train_dataloader.dataset.list_file=list/test.txt"]
    status, _, errors = command(tool, *given)
    told = [line for line in errors.splitlines() if line.startswith("error: ")]
    assert (status, len(told)) == (2, 1), errors
    assert "weights alone" in told[0]
    assert "Traceback" not in errors
    assert not done.exists()


def test_the_flag_of_the_command_line_says_what_it_risks_and_reads_the_file(command, hostile, done, tmp_path):
    for tool in ("ptq", "convert_checkpoint"):
        status, told, _ = command(tool, "--help")
        assert status == 0
        assert "DANGER: any code that its maker put into the file runs on this machine with your rights" in " ".join(
            told.split()
        )
    options = ("--config", FLOAT_CONFIG, "--out", tmp_path / "clean.pth", "--trust-checkpoint")
    status, _, errors = command("convert_checkpoint", hostile, *options)
    assert (status, done.exists()) == (0, True), errors
    assert set(read_checkpoint(tmp_path / "clean.pth").state) == set(read_checkpoint(CHECKPOINT).state)


def test_quantization_takes_a_file_that_is_trusted_and_does_not_pass_the_trust_on(hostile, done, tmp_path):
    cfg = ptq_config(CONFIG, checkpoint=str(hostile))
    with pytest.raises(UserError, match="weights alone"):
        MODELS.build(cfg.model)
    assert not done.exists()
    cfg = ptq_config(CONFIG, checkpoint=str(hostile), trust_checkpoint=True)
    write_quantized(tmp_path / "quantized.pth", MODELS.build(cfg.model), cfg)
    assert done.exists()
    assert "trust_checkpoint" not in model_config(tmp_path / "quantized.pth")


@pytest.fixture(scope="module")
def quantized(tmp_path_factory) -> Path:
    cfg = Config.fromfile(CONFIG)
    path = tmp_path_factory.mktemp("quantized") / "quantized.pth"
    write_quantized(path, MODELS.build(cfg.model), cfg)
    return path


def with_text(quantized: Path, path: Path, change) -> Path:
    content = torch.load(quantized, weights_only=True)
    content["meta"]["model"] = change(content["meta"]["model"])
    torch.save(content, path)
    return path


def test_the_config_of_a_quantized_file_is_read_as_it_was_written(quantized):
    text = torch.load(quantized, weights_only=True)["meta"]["model"]
    assert parse_config(text) == Config.fromstring(text, ".py").to_dict()
    assert read_quantized(quantized).quantized.settings.bits == "w4a4"


def test_code_in_the_config_of_a_quantized_file_never_runs(quantized, done, tmp_path):
    harm = f"__import__('os').mkdir({str(done)!r})"
    texts = [
        f"import os\nos.mkdir({str(done)!r})\n",
        harm,
        f"model = {harm}",
        f"model = dict(type={harm})",
        "model = dict(**1)",
    ]
    for text in [*texts, 3, None, "model = " + "(" * 10_000, "model = 'QuantWrapper'", "\0"]:
        path = with_text(quantized, tmp_path / "changed.pth", lambda _, text=text: text)
        for read in (read_quantized, model_config):
            with pytest.raises(UserError):
                read(path)
    assert not done.exists()


@pytest.mark.parametrize("named", ["subprocess.Popen", "mmengine.call_command", "os.mkdir", "shutil.rmtree"])
def test_a_quantized_file_builds_only_what_is_registered(named, quantized, done, tmp_path):
    kind = "type='LSTRAdapter'"
    path = with_text(
        quantized, tmp_path / "changed.pth", lambda text: text.replace(kind, f"type={named!r}, path={str(done)!r}")
    )
    with pytest.raises(UserError, match=f"names the type '{named}', which is not registered"):
        read_quantized(path)
    assert not done.exists()


# Fuzzing ---------------------------------------------------------------------------------------------------------------

SMALL = {"a.weight": torch.arange(6.0).reshape(2, 3), "b.bias": torch.zeros(2)}


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("small") / "small.pth"
    torch.save({"state_dict": SMALL, "epoch": 3}, path)
    return path.read_bytes()


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_file_with_any_damage_is_read_or_refused_in_one_line(small, tmp_path_factory, data):
    content = bytearray(small)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged.pth"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)) | st.just(len(content)))])
    with suppress(UserError):
        state = read_checkpoint(path).state
        assert all(isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in state.items())
    with suppress(UserError):
        assert not is_quantized(path)


TENSORS = st.sampled_from(
    [
        *(torch.zeros(2, 3), torch.zeros(()), torch.zeros(0), torch.zeros(2, dtype=torch.int8)),
        *(torch.zeros(2, dtype=torch.complex64), torch.zeros(2, 2).to_sparse(), torch.empty(2, device="meta")),
    ]
)
SIGNS = sorted({sign + "weight" for family in FAMILIES.values() for sign in family.signs})
KEYS = st.one_of(
    st.sampled_from(["state_dict", "model", "net", "meta", "module.a", "x.total_ops", *SIGNS, *SMALL]), st.text(max_size=4)
)
CONTENTS = st.recursive(
    TENSORS | st.none() | st.integers() | st.text(max_size=4),
    lambda inner: st.dictionaries(KEYS | st.integers(0, 3), inner, max_size=4) | st.lists(inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(CONTENTS)
def test_any_content_is_a_state_of_tensors_or_refused_in_one_line(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "content.pth"
    torch.save(content, path)
    model = torch.nn.ModuleDict({"a": torch.nn.Linear(3, 2, bias=False), "b": torch.nn.Module()})
    model["b"].bias = torch.nn.Parameter(torch.zeros(2))
    with suppress(UserError):
        load_float_checkpoint(model, path)
    with suppress(UserError):
        model_config(path)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(FAMILIES)), st.dictionaries(KEYS, TENSORS, max_size=4))
def test_files_that_look_like_a_family_are_refused_in_one_line(tmp_path_factory, family, further):
    state = {sign + "weight": torch.zeros(2, 2) for sign in FAMILIES[family].signs} | further
    path = tmp_path_factory.getbasetemp() / "family.pth"
    torch.save(state, path)
    model = torch.nn.Linear(2, 2)
    with pytest.raises(UserError):
        load_float_checkpoint(model, path)
    assert recognise(read_checkpoint(path).state) is not None


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.text("abc", min_size=1), TENSORS.filter(lambda t: t.layout == torch.strided and not t.is_meta)))
def test_nothing_of_a_state_is_lost(tmp_path_factory, state):
    path = tmp_path_factory.getbasetemp() / "whole.pth"
    torch.save({"state_dict": state}, path)
    if not state:
        with pytest.raises(UserError, match="holds no weights"):
            read_checkpoint(path)
        return
    back = read_checkpoint(path).state
    assert list(back) == list(state)
    assert all(torch.equal(back[key], state[key]) for key in state)

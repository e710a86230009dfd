"""Configs with a key that nothing reads: one line that names it, before any work is done."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.config import Config
from test_engine.runs import CHECKPOINT, CONFIG
from test_engine.tuned import tuned

from mmsf.engine.building import build_runner, is_registered, require_known_keys
from mmsf.engine.config import apply_options, read_config, require_ptq
from mmsf.engine.ptq import complete
from mmsf.errors import UserError

UNKNOWN = {
    "model.quantiser.bits": "'quantiser'.* did you mean 'quantizer'",
    "model.detector.droput": "model.detector: LSTR's key 'droput' is unknown; did you mean 'dropout'",
    "model.detector.adapter.treshold": "model.detector.adapter: LSTRAdapter's key 'treshold'.*'threshold'",
    "model.loss.focus": "SelectiveFocusLoss's key 'focus'.*'focus_power'",
    "train_cfg.max_iter": "train_cfg: PTQLoop's key 'max_iter'.*'max_iters'",
    "train_cfg.weight_range.bin": "train_cfg.weight_range: MSERange's key 'bin'",
    "custom_hooks.0.intervall": "custom_hooks.0: SensitivityHook's key 'intervall'.*'interval'",
    "default_hooks.checkpoint.intervall": "CheckpointHook's key 'intervall'.*'interval'",
    "default_hooks.logger.every": "LoggerHook's key 'every' is unknown; known: .*interval",
    "optim_wrapper.paramwise": "optim_wrapper: OptimWrapper's key 'paramwise'.*'paramwise_cfg'",
    "optim_wrapper.optimizer.learning_rate": "optim_wrapper.optimizer: Adam's key 'learning_rate'",
    "param_scheduler.0.T_maximum": "CosineAnnealingLR's key 'T_maximum'.*'T_max'",
    "train_dataloader.batchsize": "train_dataloader: key 'batchsize' is unknown; did you mean 'batch_size'",
    "train_dataloader.dataset.calibration_rot": "CalibrationDataset's key 'calibration_rot'.*'calibration_root'",
    "val_evaluator.iou": "CULaneMetric's key 'iou'",
    "custom_hook": "config key 'custom_hook' is read by nothing; did you mean 'custom_hooks'",
    "calibration_rot": "config key 'calibration_rot' is read by nothing; did you mean 'calibration_root'",
    "optimizer_wrapper": "did you mean 'optim_wrapper'",
}
# What is seen when the part is made: these dicts have no type.
UNTYPED = {
    "model.quantizer.bit": "model.quantizer: key 'bit' is unknown; did you mean 'bits'",
    "model.quantizer.learn_activations_scale": "did you mean 'learn_activation_scale'",
    "train_cfg.curves": (dict(level=3), "train_cfg.curves: key 'level' is unknown; did you mean 'levels'"),
    "train_cfg.distortion": (dict(penalti=3), "train_cfg.distortion: key 'penalti' is unknown; did you mean"),
    "train_cfg.bit_planner": (dict(budgett="mac_share=0.1"), "train_cfg.bit_planner: key 'budgett'"),
    "optim_wrapper.paramwise_cfg.rate": "paramwise_cfg has unknown keys rate",
    "optim_wrapper.optimizer.type": ("Adamm", "the config cannot be built: .*Adamm"),
    "default_hooks.logger.type": ("mmsf.LoggerHok", "the config cannot be built: .*LoggerHok"),
    "custom_hooks.7.interval": "--cfg-options does not fit the config",
    "train_cfg.max_iters": ("many", "train_cfg: max_iters must be a whole number of at least 0; got 'many'"),
    "train_cfg.memory_mb": ("much", "the config cannot be built: TypeError"),
}


@pytest.mark.parametrize("key", UNKNOWN)
def test_an_unknown_key_is_named_with_the_nearest_known_one(key):
    cfg = read_config(CONFIG)
    apply_options(cfg, {key: 1})
    with pytest.raises(UserError, match=UNKNOWN[key]) as told:
        require_known_keys(cfg)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("key", UNTYPED)
def test_what_cannot_be_built_is_one_line_and_leaves_nothing(key, roads, tmp_path):
    given = UNTYPED[key]
    value, message = given if isinstance(given, tuple) else (1, given)
    with pytest.raises(UserError, match=message):
        tuned(roads, tmp_path / "run", **{key.replace(".", "__"): value})
    assert not (tmp_path / "run" / "ranges.pth").exists()


def test_the_command_ends_with_one_line_and_status_2(command, roads, tmp_path):
    status, _, errors = command(
        "ptq", CONFIG, "--checkpoint", CHECKPOINT, "--data-root", roads / "test", "--calibration-root", roads / "train",
        "--work-dir", tmp_path, "--cfg-options", "train_cfg.max_iter=3",
    )  # fmt: skip
    told = [line for line in errors.splitlines() if line.startswith("error: ")]
    assert (status, len(told)) == (2, 1)
    assert "'max_iter' is unknown; did you mean 'max_iters'?" in told[0]
    assert "Traceback" not in errors


def test_variables_of_other_peoples_configs_and_their_models_are_left_alone():
    cfg = Config(
        dict(
            num_classes=4,
            train_pipeline=[],
            val_dataset=1,
            backend_args=None,
            auto_scale_lr=dict(base_batch_size=16),
            model=dict(type="Theirs", neck=dict(type="FPN", norm_cfg=dict(type="BN", requires_grad=True))),
        )
    )
    require_known_keys(cfg)


def test_only_what_is_registered_is_registered():
    assert is_registered("mmsf.LSTR")
    assert is_registered("Adam")
    assert not any(map(is_registered, ("subprocess.Popen", "mmengine.utils.call_command", "builtins.exec", "", None, 3)))


TEXTS = st.one_of(st.text(max_size=60), st.sampled_from(["model", "(", "=", "dict", "_base_", "\n", "'", "{{", "}}"]))


@settings(max_examples=40, deadline=None)
@given(st.lists(TEXTS, max_size=8).map(" ".join))
def test_any_text_is_a_config_or_one_line(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "fuzzed.py"
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    with suppress(UserError):
        cfg = read_config(path)
        require_ptq(cfg, path)
        require_known_keys(cfg)


VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-5, 5), st.floats(allow_nan=False), st.text(max_size=5)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@pytest.mark.parametrize(("randomness", "seed"), [(None, 0), (dict(deterministic=False), 0), (dict(seed=7), 7)])
def test_a_config_that_names_no_seed_has_seed_0(randomness, seed, tmp_path):
    cfg = Config(dict(model=dict(type="mmengine.ImgDataPreprocessor"), work_dir=str(tmp_path), randomness=randomness))
    assert build_runner(cfg).seed == seed


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_value_in_the_place_of_another_is_taken_or_one_line(data):
    cfg = read_config_once()
    place = [data.draw(st.sampled_from([key for key in sorted(cfg) if isinstance(cfg[key], dict)]))]
    while isinstance(inner := at(cfg, place), dict) and inner and data.draw(st.booleans()):
        place.append(data.draw(st.sampled_from(sorted(inner))))
    value = data.draw(VALUES)
    with suppress(UserError):
        apply_options(cfg, {".".join(place): value, "data_root": "nowhere"})
        require_ptq(cfg, CONFIG)
        complete(cfg, checkpoint=str(CHECKPOINT))
        require_known_keys(cfg)


_READ: list[Config] = []


def read_config_once() -> Config:
    if not _READ:
        _READ.append(read_config(CONFIG))
    return Config(_READ[0].to_dict())


def at(cfg: Config, place: list[str]) -> object:
    for key in place:
        cfg = cfg[key]
    return cfg

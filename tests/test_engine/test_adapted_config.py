"""Configs of other projects' detectors: what quantization adds to them, without building them."""

import pytest
from mmengine.config import Config
from originals import ROOT

from mmsf.engine.adapted import adapt, adapter_of, float_model
from mmsf.engine.config import read_config
from mmsf.errors import UserError

RUNTIME = read_config(ROOT / "configs" / "_base_" / "default_runtime.py")
FRAMES = dict(type="CulaneDataset", data_root="d", data_list="d/list/train.txt", pipeline=["load", "label"], test_mode=False)


def config(**more) -> Config:
    test = dict(conf_threshold=0.43, nms_thres=40, nms_topk=3, cut_height=200, use_nms=True)
    model = dict(type="CLRerNet", bbox_head=dict(type="CLRerHead", img_h=160, img_w=400), test_cfg=test)
    loaders = dict(
        train_dataloader=dict(batch_size=24, dataset=FRAMES),
        test_dataloader=dict(dataset=dict(type="CulaneDataset", pipeline=["load"])),
    )
    return Config(dict(default_scope="mmdet", model=model, **loaders, **more))


def test_clrernets_own_thresholds_become_the_adapters():
    assert adapter_of(config()) == dict(
        type="mmsf.CLRerNetAdapter", input_size=(160, 400), threshold=0.43, nms_distance=40, max_lanes=3, crop_top=200
    )


def test_onedls_thresholds_are_the_defaults_of_the_adapter():
    plain = Config(dict(model=dict(type="mmdet.CLRNet", head=dict(type="CLRHead"))))
    assert adapter_of(plain) == dict(type="mmsf.CLRNetAdapter", input_size=(320, 800))


def test_an_adapter_of_the_config_comes_first():
    own = dict(type="mmsf.CLRerNetAdapter", threshold=0.2)
    assert adapter_of(config(adapter=own)) == own


def test_an_adapter_of_another_kind_leaves_the_detector_as_it_is():
    cfg = config(adapter=dict(type="Mine"))
    assert adapter_of(cfg) is None
    assert float_model(cfg) is cfg.model


def test_mmsfs_own_detectors_need_no_adapter():
    own = Config(dict(model=dict(type="LSTR")))
    assert adapter_of(own) is None
    assert float_model(own) is own.model


def test_a_detector_keeps_its_config_and_its_scope():
    found = float_model(config())
    assert found["type"] == "mmsf.AdaptedDetector"
    assert found["detector"] == dict(config().model, _scope_="mmdet")


def test_calibration_is_made_of_training_frames_prepared_as_for_the_test():
    cfg = config()
    adapt(cfg, RUNTIME)
    calibration = cfg.calibration_dataloader.dataset
    assert calibration.type == "mmsf.SpreadDataset"
    assert calibration.dataset == dict(FRAMES, pipeline=["load"], test_mode=True)
    assert cfg.input_size == (160, 400)
    assert not cfg.log_processor.by_epoch
    assert cfg.default_hooks.checkpoint == RUNTIME.default_hooks.checkpoint


def test_what_the_config_says_itself_stays():
    cfg = config(calibration_dataloader=dict(batch_size=3), input_size=(32, 64))
    adapt(cfg, RUNTIME)
    assert cfg.calibration_dataloader == dict(batch_size=3)
    assert cfg.input_size == (32, 64)


def test_a_config_without_frames_is_refused_with_what_to_do():
    cfg = config()
    cfg.pop("train_dataloader")
    with pytest.raises(UserError, match="add one"):
        adapt(cfg, RUNTIME)


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("import no_such_module_at_all", "No module named 'no_such_module_at_all'"),
        ("raise ModuleNotFoundError('as without them', name='mmcv._ext')", "needs mmcv with compiled operators"),
    ],
)
def test_a_failed_import_is_told_by_what_is_missing(tmp_path, monkeypatch, code, told):
    name = f"fails_{len(code)}"
    (tmp_path / f"{name}.py").write_text(code + "\n")
    (tmp_path / "config.py").write_text(f"custom_imports = dict(imports=[{name!r}], allow_failed_imports=False)\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=told) as caught:
        read_config(tmp_path / "config.py")
    assert "sys.path" not in str(caught.value)

"""The backbone's shape, names and dilation rule."""

from pathlib import Path

import torch

from mmsf.models.backbones.resnet import ResNet


def test_only_the_first_convolution_of_a_block_is_dilated_and_the_first_block_uses_the_dilation_before() -> None:
    backbone = ResNet(18, replace_stride_with_dilation=(False, True, True))
    found = {
        name: module.dilation[0]
        for name, module in backbone.named_modules()
        if isinstance(module, torch.nn.Conv2d) and module.dilation[0] > 1
    }
    assert found == {"layer3.1.conv1": 2, "layer4.0.conv1": 2, "layer4.1.conv1": 4}
    assert backbone.layer3[0].downsample[0].stride == (1, 1)
    assert backbone(torch.zeros(1, 3, 64, 96))[-1].shape == (1, 512, 8, 12)


def test_stages_beyond_the_last_output_are_not_built() -> None:
    backbone = ResNet(34, out_indices=(1, 2))
    assert not any(key.startswith(("layer4", "fc")) for key in backbone.state_dict())
    assert [tuple(out.shape) for out in backbone(torch.zeros(1, 3, 64, 96))] == [(1, 128, 8, 12), (1, 256, 4, 6)]


def test_a_stage_that_keeps_width_and_resolution_has_no_projection() -> None:
    names = ResNet(18, widths=(16, 32, 64, 128)).state_dict()
    assert "layer1.0.downsample.0.weight" not in names
    assert "layer2.0.downsample.1.running_var" in names


def test_weights_that_the_config_names_go_over_the_initialisation(tmp_path: Path) -> None:
    stored = ResNet(18, widths=(8, 8, 8, 8), out_indices=(1,)).state_dict()
    stored["bn1.weight"] += 1.0
    torch.save({f"backbone.{key}": value for key, value in stored.items()}, tmp_path / "weights.pth")
    init_cfg = dict(type="Pretrained", checkpoint=str(tmp_path / "weights.pth"), prefix="backbone.")
    backbone = ResNet(18, widths=(8, 8, 8, 8), out_indices=(1,), init_cfg=init_cfg)
    backbone.init_weights()
    assert all(torch.equal(value, stored[key]) for key, value in backbone.state_dict().items())

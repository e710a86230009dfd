"""Configs that come with the package, by name: in a checkout as in an installation."""

from difflib import get_close_matches
from pathlib import Path

from mmengine.config import Config
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.fileio import load

from mmsf.errors import UserError

PACKAGE = Path(__file__).resolve().parent
# `configs/`, `tools/` and `model-index.yml` as OpenMMLab's packages carry them; links in a checkout, files in a wheel.
MIM = PACKAGE / ".mim"

# MMEngine finds `mmsf::ptq/NAME.py` only for the packages that it lists, and asks the distribution named on the right for
# its folder; in an editable installation MMEngine 0.10.7 then looks in site-packages. A module's name is no distribution's,
# so it takes the folder that the module was imported from.
MODULE2PACKAGE.setdefault("mmsf", __name__)


def get_config(name: str, pretrained: bool = False) -> Config:
    """A config of the package, as `mmengine.hub.get_config` gives those of other packages.

    Args:
        name: Its path below ``configs``, such as 'ptq/lstr_tiny_synthetic_w4a4_selective-focus', with or without '.py'.
        pretrained: Whether to put the path of its bundled weights into ``model_path``.

    Raises:
        UserError: There is no such config, or no weights are bundled for it.
    """
    configs = MIM / "configs"
    path = configs / f"{name.removesuffix('.py')}.py"
    if not path.is_file():
        known = [file.relative_to(configs).with_suffix("").as_posix() for file in sorted(configs.glob("*/*.py"))]
        near = get_close_matches(name.removesuffix(".py"), known) or [*known[:3], "..."]
        raise UserError(f"mmsf has no config {name!r}; {configs} has {', '.join(near)}")
    config = Config.fromfile(path)
    if pretrained:
        weights = bundled_weights()
        key = path.relative_to(MIM).as_posix()
        if key not in weights:
            raise UserError(f"no weights are bundled for {name!r}, only for {', '.join(weights)}")
        config.model_path = str(weights[key])
    return config


def bundled_weights() -> dict[str, Path]:
    """Config, such as 'configs/lstr/lstr_tiny_synthetic.py', to the weights that come with it, by ``model-index.yml``."""
    metafiles = [load(MIM / name) for name in load(MIM / "model-index.yml")["Import"]]
    return {model["Config"]: PACKAGE.parent / model["Weights"] for metafile in metafiles for model in metafile["Models"]}

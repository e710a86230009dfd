"""From a config to MMEngine's Runner, or to one line that says which key is wrong."""

import difflib
import inspect
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import mmengine.registry
from mmengine.config import Config
from mmengine.hooks import CheckpointHook
from mmengine.registry import Registry
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from mmsf import registry
from mmsf.errors import UserError, unknown
from mmsf.files import require_folder

# Top-level keys that only mmsf reads. Configs may hold variables of any other name.
_OWN_KEYS = {
    "calibration_dataloader",
    "calibration_root",
    "custom_imports",
    "data_root",
    "input_size",
    *(f"ptq_{name}" for name in ("model", "train_cfg", "optim_wrapper", "param_scheduler", "custom_hooks", "iterations")),
}
# Keys that are taken out before a class sees the others.
_TAKEN = {"type", "_scope_", "priority", "by_epoch", "convert_to_iter_based"}
_LOADERS = ("train_dataloader", "val_dataloader", "test_dataloader")
_LOADER_KEYS = {"dataset", "num_batch_per_epoch", *inspect.signature(DataLoader.__init__).parameters} - {"self"}
# What takes the further keys of a class that hands them on.
_PASSED_ON = {CheckpointHook: [Runner.save_checkpoint]}
_OPTIMIZER_KEYS = {"optimizer", "constructor", "paramwise_cfg"}
_CHECKED = (
    *("model", *_LOADERS, "train_cfg", "val_cfg", "test_cfg", "val_evaluator", "test_evaluator"),
    *("default_hooks", "custom_hooks", "param_scheduler", "optim_wrapper", "visualizer", "log_processor"),
)
# How alike a key must be to one that is read, and how long that one is, to count as misspelt.
_ALIKE, _LONG = 0.85, 8


def build_runner(cfg: Config) -> Runner:
    """Build the Runner of a config, with its train loop if it has one. Where the config names no seed, it is 0.

    Raises:
        UserError: The config has an unknown key, or does not fit what it describes, or its work directory cannot be written.
    """
    require_known_keys(cfg)
    require_folder(cfg.work_dir)
    with _told("the config"):
        # MMEngine would draw a seed.
        cfg.randomness = {"seed": 0, **(cfg.get("randomness") or {})}
        runner = Runner.from_cfg(cfg)
        if runner._train_loop is not None:
            # `Runner.train` builds them too, but among much else that runs.
            runner.train_loop, runner.val_loop  # noqa: B018
            runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    return runner


def build(kind: Registry, settings: dict, place: str) -> Any:
    """Build one part of a config.

    Args:
        kind: Its registry.
        settings: The part.
        place: Where it stands, such as 'model'.

    Raises:
        UserError: It does not fit what it describes.
    """
    with _told(f"the config's {place}"):
        return kind.build(settings)


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Tell in one line why something cannot be built."""
    try:
        yield
    except UserError:
        raise
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(f"{what} cannot be built: {type(error).__name__}: {error}") from error


def require_known_keys(cfg: Config) -> None:
    """Refuse keys that nothing reads.

    At the top level, where a config may have variables of its own, a key is refused if it looks like a misspelt one. Below
    it, keys are compared with what the class takes, if the class is found. What stands inside another project's class is
    left to it, as are a model's parts: names there may mean something else.

    Raises:
        UserError: There is an unknown key; the nearest known one is told.
    """
    read = {*_OWN_KEYS, *inspect.signature(Runner.__init__).parameters} - {"self", "cfg"}
    for key in set(cfg) - read:
        near = difflib.get_close_matches(key, [name for name in read if len(name) >= _LONG], 1, _ALIKE)
        if near:
            raise UserError(f"config key {key!r} is read by nothing; did you mean {near[0]!r}?")
    for name in _LOADERS:
        loader = cfg.get(name) or {}
        for key in loader:
            if key not in _LOADER_KEYS:
                raise unknown(f"{name}: key", key, _LOADER_KEYS)
    for name in _CHECKED:
        for place, settings in _typed(cfg.get(name), name):
            _require_keys(place, settings, _OPTIMIZER_KEYS if place == "optim_wrapper" else set())


def is_registered(kind: object) -> bool:
    """Whether a config's ``type`` is the name of something registered, and not the path of anything importable."""
    if not isinstance(kind, str) or not kind:
        return False
    if not _registered(kind):
        # A project that is built upon may not have been imported yet.
        for node in _nodes():
            with suppress(ImportError):
                node.import_from_location()
    return bool(_registered(kind))


def _require_keys(place: str, settings: dict, further: set[str]) -> None:
    classes = _registered(settings["type"])
    if place.startswith("model"):
        classes = [found for found in classes if found.__module__.split(".")[0] == "mmsf"]
    taken = list(map(_keys_of, classes))
    if not taken or any(keys is None or not set(settings) - keys - further - _TAKEN for keys in taken):
        return
    known = taken[0] | further
    key = next(key for key in settings if key not in known | _TAKEN)
    raise unknown(f"{place}: {classes[0].__name__}'s key", key, known)


def _typed(value: object, place: str) -> Iterator[tuple[str, dict]]:
    """Every dict with a ``type``, by where it stands; none inside one whose class is another project's."""
    if isinstance(value, dict):
        if isinstance(value.get("type"), str):
            yield place, value
            if not any(found.__module__.split(".")[0] in ("mmsf", "mmengine") for found in _registered(value["type"])):
                return
        for key, item in value.items():
            yield from _typed(item, f"{place}.{key}")
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from _typed(item, f"{place}.{index}")


def _registered(kind: str) -> list[type]:
    """What is registered by a name; several, where registries of different things have the name."""
    scope, _, name = kind.rpartition(".")
    found = []
    for node in _nodes():
        if scope in ("", node.scope):
            if node.scope in ("mmsf", "mmengine"):
                node.import_from_location()
            if name in node.module_dict:
                found.append(node.module_dict[name])
    return sorted(found, key=lambda one: one.__module__.split(".")[0] != "mmsf")


def _nodes() -> Iterator[Registry]:
    """All registries below MMEngine's; mmsf's stand there once `mmsf.registry` is imported."""
    roots = [value for value in vars(mmengine.registry).values() if isinstance(value, Registry)]
    waiting: list[Registry] = [*roots, *(v for v in vars(registry).values() if isinstance(v, Registry))]
    seen: list[Registry] = []
    while waiting:
        node = waiting.pop()
        if not any(node is other for other in seen):
            seen.append(node)
            waiting += node.children.values()
    return iter(seen)


def _keys_of(made: object) -> set[str] | None:
    """Names that a class or function takes; None if it takes any."""
    takers = [made]
    if inspect.isclass(made):
        takers = [vars(kind)["__init__"] for kind in made.__mro__[:-1] if "__init__" in vars(kind)]
    takers += _PASSED_ON.get(made, [])
    known: set[str] = set()
    passes_on = False
    for taker in takers:
        parameters = inspect.signature(taker).parameters.values()
        known |= {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)} - {"self"}
        passes_on = any(p.kind is p.VAR_KEYWORD for p in parameters)
        if not passes_on:
            break
    return None if passes_on else known

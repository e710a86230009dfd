"""Raw outputs of any form: tensors in dicts, lists, tuples and objects, and where in them a tensor stands."""

from collections.abc import Iterator, Mapping

from torch import Tensor

from mmsf.errors import UserError


def tensors_of(outputs: object, prefix: str = "") -> dict[str, Tensor]:
    """Every tensor of raw outputs by its path: keys, attributes and indices with dots between, such as 'bbox.0.offsets'.

    A single tensor is called 'output'.
    """
    if isinstance(outputs, Tensor):
        return {prefix or "output": outputs}
    found: dict[str, Tensor] = {}
    for step, value in _parts(outputs):
        found.update(tensors_of(value, f"{prefix}.{step}" if prefix else str(step)))
    return found


def _parts(value: object) -> Iterator[tuple[str | int, object]]:
    if isinstance(value, Mapping):
        yield from value.items()
    elif isinstance(value, (list, tuple)):
        yield from zip(getattr(value, "_fields", range(len(value))), value)
    elif hasattr(value, "__dict__") and not isinstance(value, type):
        yield from ((name.lstrip("_"), part) for name, part in vars(value).items())


def tensor_at(outputs: object, path: str) -> tuple[Tensor, int | None]:
    """The tensor that a path leads to.

    Args:
        outputs: Raw outputs.
        path: As `tensors_of` writes it. Indices may be negative; the last step may index a tensor of several stages,
            (stages, B, ...). 'output' is outputs that are a single tensor.

    Returns:
        The tensor, and of a tensor of several stages the index of the stage.

    Raises:
        UserError: There is no tensor.
    """
    value, steps = outputs, [] if path == "output" and isinstance(outputs, Tensor) else path.split(".")
    for number, step in enumerate(steps):
        if isinstance(value, Tensor) and number == len(steps) - 1 and step.lstrip("-").isdigit():
            return value, range(len(value))[int(step)] if -len(value) <= int(step) < len(value) else _refuse(outputs, path)
        value = _step(value, step)
    return (value, None) if isinstance(value, Tensor) else _refuse(outputs, path)


def _step(value: object, step: str) -> object:
    if isinstance(value, Mapping):
        return value.get(step, value.get(int(step)) if step.lstrip("-").isdigit() else None)
    if isinstance(value, (list, tuple)) and step.lstrip("-").isdigit():
        return value[int(step)] if -len(value) <= int(step) < len(value) else None
    return None if isinstance(value, Tensor) else getattr(value, step, None)


def _refuse(outputs: object, path: str) -> None:
    known = ", ".join(f"{name} {tuple(tensor.shape)}" for name, tensor in tensors_of(outputs).items())
    raise UserError(f"adapter: the raw outputs have no tensor at {path!r}; there are: {known or 'none'}")


def paths_of(outputs: object, path: str) -> list[str]:
    """The paths that one with a '*' stands for, in order: 'levels.*.cls' is that of every level.

    Raises:
        UserError: There is none.
    """
    if "*" not in path.split("."):
        return [path]
    wanted = path.split(".")
    found = [
        name
        for name in tensors_of(outputs)
        if len(name.split(".")) == len(wanted) and all(w in ("*", n) for w, n in zip(wanted, name.split(".")))
    ]
    return found or _refuse(outputs, path)

"""NaN and infinite numbers, found and named before they are decoded."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from mmsf.errors import UserError


def require_finite(outputs: dict[str, Tensor], network: nn.Module, run: Callable[[], object]) -> None:
    """Refuse raw outputs with NaN or infinite numbers.

    Args:
        outputs: The raw outputs.
        network: The float network that gave them.
        run: Runs it once more on the same images, to find the layer where such numbers come up first.

    Raises:
        UserError: There are some; it names the layer.
    """
    broken = [name for name, tensor in outputs.items() if not _finite([tensor])]
    if broken:
        raise broken_network(network, run, f"the raw output {broken[0]!r} is NaN or infinite")


def broken_network(network: nn.Module, run: Callable[[], object], found: str) -> UserError:
    """The error for NaN or infinite numbers; ``found`` says where they were met, the error also where they come up."""
    layer = first_broken_layer(network, run)
    place = "between layers" if layer is None else f"in what layer {layer!r} gives"
    return UserError(f"{found}; such numbers come up first {place}: the float weights or the images are broken")


def first_broken_layer(network: nn.Module, run: Callable[[], object]) -> str | None:
    """Name of the first layer that gives NaN or infinite numbers though it takes none; None if none does."""
    found: list[str] = []

    def watch(name: str) -> Callable:
        def after(module: nn.Module, args: tuple, out: object) -> None:
            if not found and _finite(_tensors(args)) and not _finite(_tensors(out)):
                found.append(name)

        return after

    # What is inside a module ends before the module does.
    handles = [module.register_forward_hook(watch(name)) for name, module in network.named_modules() if name]
    try:
        with torch.no_grad():
            run()
    finally:
        for handle in handles:
            handle.remove()
    return found[0] if found else None


def _finite(tensors: Iterable[Tensor]) -> bool:
    return all(bool(tensor.isfinite().all()) for tensor in tensors)


def _tensors(value: object) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    return [tensor for item in value for tensor in _tensors(item)] if isinstance(value, (list, tuple)) else []

"""Outputs of what runs before a unit, kept, so that a run of the network up to the unit need not compute them again."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count

from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_map

from mmsf.reconstruction.units import Unit


class Replay:
    """Runs a network up to one unit after the other, always on the same batches; what ran before is not run again.

    Of modules that hold no part of a unit and ended before it began, the outermost ones' outputs are kept. They depend on
    units that began earlier, so they stay as they are while these do.

    Args:
        network: The network.
        room: Bytes that kept outputs may take; what does not fit is computed again each time.

    Attributes:
        held: Bytes that they take.
    """

    def __init__(self, network: nn.Module, room: float) -> None:
        self.network, self.room = network, room
        self.held = 0
        self._unit: Unit | None = None
        self._outputs: dict[nn.Module, dict[int, list]] = {}

    @contextmanager
    def before(self, unit: Unit, batch: int) -> Iterator[None]:
        """While the block runs, the network is run on a batch, at least up to a unit.

        Args:
            unit: The unit; all that begin before it are done with.
            batch: Number of the batch.
        """
        if unit is not self._unit:
            self._go_on_to(unit)
        begun: list[bool] = []
        handle = unit.module.register_forward_pre_hook(lambda *_: begun.append(True))
        own = {module: vars(module).get("forward") for module in self._outputs}
        for module in own:
            module.forward = self._replaying(module, batch, begun)
        try:
            yield
        finally:
            handle.remove()
            for module, forward in own.items():
                if forward is None:
                    del module.forward
                else:
                    module.forward = forward

    def _replaying(self, module: nn.Module, batch: int, begun: list[bool]) -> Callable:
        kept = self._outputs[module].setdefault(batch, [])
        compute, calls = module.forward, count()

        def forward(*args, **kwargs):
            call = next(calls)
            if call < len(kept):
                return _copied(kept[call])
            output = compute(*args, **kwargs)
            # What changes its input in place must run.
            new = not _storages(output) & _storages((args, kwargs))
            if new and not begun and call == len(kept) and self.held + _size(output) <= self.room:
                self.held += _size(output)
                kept.append(_copied(output))
            return output

        return forward

    def _go_on_to(self, unit: Unit) -> None:
        modules = _outermost_without(unit.module, self.network)
        self.held -= sum(_size(self._outputs[gone]) for gone in self._outputs.keys() - modules)
        self._unit, self._outputs = unit, {module: self._outputs.get(module, {}) for module in modules}


def _outermost_without(inner: nn.Module, network: nn.Module) -> set[nn.Module]:
    """The outermost modules of a network that do not hold a module of it."""
    holding = [module for module in network.modules() if inner in set(module.modules())]
    found = {child for module in holding if module is not inner for child in module.children()} - set(holding)
    # One that stands in several places, once inside another, has no number of calls of its own.
    return found - {module for other in found for module in other.modules() if module is not other}


def _copied(output: object) -> object:
    """The output with tensors of its own: what follows may change them in place."""
    return tree_map(lambda leaf: leaf.detach().clone() if isinstance(leaf, Tensor) else leaf, output)


def _tensors(values: object) -> list[Tensor]:
    return [leaf for leaf in tree_flatten(values)[0] if isinstance(leaf, Tensor)]


def _storages(values: object) -> set[int]:
    return {tensor.untyped_storage().data_ptr() for tensor in _tensors(values)}


def _size(output: object) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in _tensors(output))

"""Outputs of what runs before a unit are kept, and change nothing."""

import torch
from test_reconstruction.toy_units import Toy
from torch import nn

from mmsf.quantization.layers import QuantizedLayer
from mmsf.reconstruction import Replay, Unit, record


class Count:
    """Counts the runs of a network's quantized layers."""

    def __init__(self, network: nn.Module) -> None:
        self.runs = 0
        for module in network.modules():
            if isinstance(module, QuantizedLayer):
                module.input_quantizer.register_forward_hook(self._ran)

    def _ran(self, *_) -> None:
        self.runs += 1


def changed(unit: Unit) -> None:
    """The unit as if it had been tuned."""
    with torch.no_grad():
        for layer in unit.layers.values():
            layer.layer.weight.mul_(0.9)


def all_inputs(room: float) -> tuple[list, int]:
    """Inputs of every unit, each recorded after those before it have changed, and how many runs of layers that took."""
    toy = Toy()
    replay, count, inputs = Replay(toy.network.network, room), Count(toy.network.network), []
    for unit in toy.units.values():
        with replay.before(unit, 0):
            inputs.append(record(unit, toy.run)[0])
        assert 0 <= replay.held <= room
        changed(unit)
    return inputs, count.runs


def test_units_have_the_same_inputs_with_kept_outputs_and_with_fewer_runs():
    (plain, all_runs), (kept, runs) = all_inputs(room=0), all_inputs(room=2**20)
    torch.testing.assert_close(kept, plain, rtol=0, atol=0)
    assert runs < all_runs / 2


def test_what_finds_no_room_is_run_again():
    (plain, all_runs), (kept, runs), (_, fewest) = (all_inputs(room) for room in (0, 100_000, 2**20))
    torch.testing.assert_close(kept, plain, rtol=0, atol=0)
    assert fewest < runs < all_runs


def test_a_run_to_the_end_gives_the_same_outputs_and_keeps_nothing_of_what_is_not_tuned_yet():
    toy = Toy()
    replay = Replay(toy.network.network, 2**20)
    units = list(toy.units.values())
    for unit in units[:2]:
        with replay.before(unit, 0):
            toy.run()
        changed(unit)
    changed(units[-1])
    with replay.before(units[2], 0):
        again = toy.run()
    torch.testing.assert_close(again, toy.run(), rtol=0, atol=0)


def test_batches_are_told_apart():
    toy = Toy()
    replay, last = Replay(toy.network.network, 2**20), list(toy.units.values())[-1]
    for batch, frames in ((0, 2), (1, 5), (0, 2), (1, 5)):
        with replay.before(last, batch):
            found = toy.run(frames)
        torch.testing.assert_close(found, toy.run(frames), rtol=0, atol=0)


class InPlace(nn.Module):
    """Uses what a module changes in place, not what it returns."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.relu, self.second = nn.Linear(3, 3), nn.ReLU(inplace=True), nn.Linear(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        self.relu(x)
        return self.second(x)


@torch.no_grad()
def test_modules_that_change_their_input_in_place_run_again():
    torch.manual_seed(0)
    network, x = InPlace(), torch.randn(4, 3)
    replay, unit = Replay(network, 2**20), Unit("second", network.second, {}, {})
    for _ in range(3):
        with replay.before(unit, 0):
            assert torch.equal(network(x), network.second(network.first(x).relu()))
    assert replay.held == 4 * 3 * 4


def test_the_network_is_left_as_it_was():
    toy = Toy()
    replay = Replay(toy.network.network, 2**20)
    for unit in toy.units.values():
        with replay.before(unit, 0):
            toy.run()
    assert not any("forward" in vars(module) for module in toy.network.modules())

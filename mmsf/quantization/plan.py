"""Bits for every layer: the uniform plan, customary exceptions, and overrides by name."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from fnmatch import fnmatchcase

from mmsf.errors import UserError

FLOAT = "float"


@dataclass(frozen=True)
class Bits:
    """Bits of one layer; None stands for float."""

    weight: int | None
    activation: int | None

    def __post_init__(self) -> None:
        for bits in (self.weight, self.activation):
            if bits is not None and not 2 <= bits <= 8:
                raise UserError(
                    f"bits must be a whole number from 2 to 8, or 'float' for a layer that is left out; got {bits}"
                )

    @classmethod
    def parse(cls, value: "str | dict | list | tuple | Bits") -> "Bits":
        """Read 'w4a8', 'float', (4, 8), or dict(weight=4, activation='float').

        Raises:
            UserError: For anything else, or bits outside 2-8.
        """
        if isinstance(value, Bits):
            return value
        if isinstance(value, str):
            if value.lower() == FLOAT:
                return cls(None, None)
            match = re.fullmatch(r"w(\d+)a(\d+)", value.lower())
            if match is None:
                raise UserError(f"bits are written like 'w4a8' or 'float'; got {value!r}")
            return cls(int(match[1]), int(match[2]))
        if isinstance(value, dict) and value and value.keys() <= {"weight", "activation"}:
            value = (value.get("weight"), value.get("activation"))
        if isinstance(value, (list, tuple)) and len(value) == 2:
            parts = [None if v in (FLOAT, None) else v for v in value]
            if all(v is None or (isinstance(v, int) and not isinstance(v, bool)) for v in parts):
                return cls(*parts)
        raise UserError(f"bits are written like 'w4a8', 'float' or [4, 8]; got {value!r}")

    def as_list(self) -> list:
        """[weight, activation] with 'float' in place of None, as it stands in `summary.json`."""
        return [FLOAT if b is None else b for b in (self.weight, self.activation)]


def bit_plan(
    bits: str | dict | Bits,
    scheme: str,
    order: list[str],
    last: set[str],
    calls: list[str],
    overrides: dict[str, str | dict | list] | None = None,
) -> dict[str, Bits]:
    """Bits for each layer and function call.

    Args:
        bits: The uniform plan, such as 'w4a4'.
        scheme: 'strict' (every layer at the stated bits) or 'customary' (first layer and last layer of each head at 8).
        order: Names of the layers, in the order in which they run.
        last: Names of the layers that make raw outputs.
        calls: Names of quantized function calls; only the activation bits concern them.
        overrides: Name, or shell-style pattern of names -> bits; later entries win.

    Raises:
        UserError: Unknown scheme, malformed bits, or an override that names no layer.
    """
    uniform = Bits.parse(bits)
    if scheme not in ("strict", "customary"):
        raise UserError(f"scheme must be 'strict' or 'customary'; got {scheme!r}")
    plan = dict.fromkeys([*order, *calls], uniform)
    if scheme == "customary" and order:
        plan.update(dict.fromkeys([order[0], *last], Bits(8, 8)))
    for pattern, value in (overrides or {}).items():
        named = named_by(pattern, plan)
        if not named:
            raise UserError(f"the bit plan names {pattern!r}, but no layer has that name; layers are {_some(list(plan))}")
        plan.update(dict.fromkeys(named, Bits.parse(value)))
    return plan


def named_by(pattern: str, names: Collection[str]) -> list[str]:
    """Those of ``names`` that an override's key means: the one of that name, else those that match it as a pattern."""
    return [pattern] if pattern in names else [name for name in names if fnmatchcase(name, pattern)]


def _some(names: list[str]) -> str:
    return ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")

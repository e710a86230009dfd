"""Which layers and calls read the same tensor, and so quantize it with one range."""

from mmsf.quantization.follow import Followed


def shared_reads(followed: Followed, calls: set[str]) -> dict[str, int]:
    """Readers that must have the same range.

    A reader is a layer, ``<layer>``, or an operand of a call, ``<call>.<number>``. Two of them belong together if they read
    the same tensor, in any run; so do all operands of a concatenation and the readers of its result.

    Args:
        followed: What one forward pass showed.
        calls: The calls whose operands are quantized.

    Returns:
        Reader -> number of its group.
    """
    tensors = dict(followed.reads)
    joined = list(tensors.values())
    for name in calls:
        call = followed.calls[name]
        tensors.update({f"{name}.{number}": numbers for number, numbers in enumerate(call.reads)})
        joined += call.reads
        if ":concatenation" in name:
            joined.append(call.writes.union(*call.reads))
    group: dict[int, int] = {}

    def root(number: int) -> int:
        while group.setdefault(number, number) != number:
            number = group[number]
        return number

    for numbers in joined:
        first, *others = map(root, numbers)
        group.update(dict.fromkeys(others, first))
        group[first] = first
    return {reader: root(next(iter(numbers))) for reader, numbers in tensors.items()}

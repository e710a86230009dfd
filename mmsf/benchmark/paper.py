"""The figures of the paper's tables, by the names of their rows and columns.

Source: "Selective Focus: Semantics Sensitivity in Post-training Quantization for Lane Detection" (AAAI 2024), Tables 1 to 3:
F1 in percent on CULane's test split. BRECQ is printed as "BRECCQ" there.
"""

from typing import NamedTuple


class Figure(NamedTuple):
    """An entry of a table.

    Attributes:
        f1: F1, percent.
        minutes: What quantization took, minutes; None where the table does not say.
    """

    f1: float
    minutes: float | None = None


FULL_PRECISION = ("Full Precision", "Model Baseline")

_COLUMNS = tuple(
    f"{network} {size}"
    for network in ("CondLaneNet", "GANet", "LSTR", "BézierLaneNet", "LaneATT", "SCNN", "RESA")
    for size in ("Small", "Mid")
)
_FAILED = None  # printed as "/"
_TABLE_1 = {
    FULL_PRECISION: (78.14, 78.74, 78.79, 79.39, 68.78, 72.47, 73.66, 75.57, 74.45, 75.04, 72.19, 72.70, 72.90, 73.66),
    # The first row at W8A8 names no method but "W8A8".
    ("W8A8", "W8A8"): (77.95, 78.58, 78.58, 79.21, 67.50, 72.14, 73.43, 75.36, 74.34, 74.56, 72.03, 72.55, 72.76, 73.64),
    ("W8A8", "Ours"): (78.10, 78.90, 78.53, 79.30, 68.58, 72.40, 73.63, 75.50, 74.38, 75.01, 72.33, 72.69, 72.53, 73.49),
    ("W8A4", "ACIQ"): (58.63, 37.67, 5.38, 20.18, 47.63, 12.49, 23.79, 4.77, 54.20, 0.64, 62.63, 49.26, 54.16, 49.62),
    ("W8A4", "OMSE"): (69.74, 64.29, 69.52, 54.10, 55.51, 58.12, 62.04, 60.57, 64.54, 0.90, 65.35, 60.53, 66.59, 65.93),
    ("W8A4", "AdaRound"): (67.11, 63.64, 39.97, 18.14, 51.41, 54.11, 56.66, 58.55, 64.01, 0.96, 65.87, 63.65, 59.17, 62.78),
    ("W8A4", "BRECQ"): (73.61, 74.06, 74.37, 75.04, 57.11, 63.32, 62.02, 65.18, 66.47, 0.04, 66.05, 63.67, 66.40, 65.47),
    ("W8A4", "QDrop"): (74.76, 75.49, 75.77, 75.56, 60.34, 65.25, 64.48, 66.91, 66.58, 0.06, 66.85, 64.83, 67.27, 67.54),
    ("W8A4", "Ours"): (75.56, 75.74, 76.32, 76.51, 63.14, 68.15, 68.98, 70.01, 69.85, 34.53, 69.61, 69.51, 69.46, 70.60),
    ("W4A4", "ACIQ"): (53.96, 20.84, 1.54, 9.02, 1.47, 2.37, 14.10, 8.82, 50.65, 0.32, 34.47, 23.70, 35.56, 15.45),
    ("W4A4", "OMSE"): (63.64, 55.06, 49.96, 37.21, 1.79, 17.02, 52.38, 46.03, 62.34, 0.39, 51.49, 49.67, 57.07, 50.83),
    ("W4A4", "AdaRound"): (
        *(20.35, _FAILED, _FAILED, _FAILED, 20.69, 7.95, 50.70, 48.60),
        *(34.53, 0.00, 6.56, 0.03, 68.36, 64.57),
    ),
    ("W4A4", "BRECQ"): (74.10, 75.80, 75.67, 75.89, 30.83, 50.09, 66.96, 70.30, 68.69, 28.34, 54.34, 52.30, 67.70, 69.48),
    ("W4A4", "QDrop"): (74.41, 76.29, 76.76, 76.50, 23.95, 53.87, 67.65, 71.16, 68.97, 0.64, 61.70, 64.57, 67.59, 69.98),
    ("W4A4", "Ours"): (74.68, 75.48, 76.31, 76.26, 34.65, 60.56, 68.37, 70.00, 69.19, 37.59, 68.16, 68.27, 69.31, 70.01),
}

TABLES: dict[int, dict[tuple[str, str, str], Figure]] = {
    1: {
        (*row, column): Figure(f1)
        for row, figures in _TABLE_1.items()
        for column, f1 in zip(_COLUMNS, figures)
        if f1 is not _FAILED
    },
    2: {
        ("W4A4", "Ours", "GANet Small"): Figure(76.31, 32),
        ("W4A4", "w/o Focus", "GANet Small"): Figure(73.27, 31),
        ("W4A4", "w/o Selection", "GANet Small"): Figure(75.30, 29),
        ("W4A4", "w/o Focus+Selection", "GANet Small"): Figure(72.98, 29),
    },
    # Table 3 does not say its bits. Three of its four PTQ figures are Table 1's at W8A4; RESA's with QDrop is that of W4A4.
    3: {
        ("W8A4", "LSQ+", "CondLaneNet Small"): Figure(76.92, 1303),
        ("W8A4", "QDrop", "CondLaneNet Small"): Figure(74.76, 112),
        ("W8A4", "Ours", "CondLaneNet Small"): Figure(75.56, 33),
        ("W8A4", "LSQ+", "RESA Small"): Figure(69.80, 5326),
        ("W8A4", "QDrop", "RESA Small"): Figure(67.59, 4378),
        ("W8A4", "Ours", "RESA Small"): Figure(69.46, 46),
    },
}
"""Number of the table -> (bits, method, detector) -> figure; entries that are printed as "/" are absent."""

COLUMNS = {number: {column for _, _, column in table} for number, table in TABLES.items()}
WITH_MINUTES = {number for number, table in TABLES.items() if any(f.minutes is not None for f in table.values())}
METHODS = {number: {method for _, method, _ in table} - {"Model Baseline"} for number, table in TABLES.items()}


def figure(table: int | None, bits: str, method: str | None, column: str | None) -> Figure | None:
    """The paper's entry; None where it has none.

    Args:
        table: Number of the table, or None.
        bits: Such as "w4a4", or "Full Precision".
        method: Name of the row's method in the paper, or None.
        column: Name of the detector in the paper, or None.
    """
    return TABLES.get(table, {}).get((bits.upper() if bits[:1] == "w" else bits, method, column))

"""Where the cases lie whose results the official evaluators have printed."""

from pathlib import Path

DATA = Path(__file__).resolve().parent.parent / "data"

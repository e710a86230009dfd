"""The MMEngine side: wrapper, loop, hooks."""

from mmsf.engine import storage
from mmsf.engine.blockwise_loop import BlockwiseLoop
from mmsf.engine.loop import PTQLoop
from mmsf.engine.relative_rates import RelativeRateConstructor
from mmsf.engine.result_hook import ResultHook
from mmsf.engine.sensitivity_hook import SensitivityHook
from mmsf.engine.wrapper import QuantWrapper

__all__ = ["BlockwiseLoop", "PTQLoop", "QuantWrapper", "RelativeRateConstructor", "ResultHook", "SensitivityHook", "storage"]

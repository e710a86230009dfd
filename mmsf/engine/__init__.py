"""The MMEngine side: wrapper, loops, hooks."""

from mmsf.engine import storage
from mmsf.engine.analysis_hook import AnalysisHook
from mmsf.engine.best_moment_hook import BestMomentHook
from mmsf.engine.blockwise_loop import BlockwiseLoop
from mmsf.engine.inferencer import LaneInferencer
from mmsf.engine.loop import PTQLoop
from mmsf.engine.qat_loop import QATLoop
from mmsf.engine.relative_rates import RelativeRateConstructor
from mmsf.engine.result_hook import ResultHook
from mmsf.engine.sensitivity_hook import SensitivityHook
from mmsf.engine.sensitivity_loop import SensitivityLoop
from mmsf.engine.wrapper import QuantWrapper

__all__ = [
    "AnalysisHook",
    "BestMomentHook",
    "BlockwiseLoop",
    "LaneInferencer",
    "PTQLoop",
    "QATLoop",
    "QuantWrapper",
    "RelativeRateConstructor",
    "ResultHook",
    "SensitivityHook",
    "SensitivityLoop",
    "storage",
]

"""Registries of mmsf: children of MMEngine's, in scope ``mmsf``.

A type is written ``mmsf.Name`` in a config of another scope. Each registry imports its ``locations`` at the first look-up,
so a config needs nothing but ``custom_imports=dict(imports=['mmsf'], allow_failed_imports=False)``.
"""

from mmengine import registry as _root
from mmengine.registry import Registry


def _child(name: str, parent: Registry, *locations: str) -> Registry:
    return Registry(name, parent=parent, scope="mmsf", locations=list(locations))


MODELS = _child("model", _root.MODELS, "mmsf.models", "mmsf.reconstruction", "mmsf.engine", "mmsf.deploy")
DATASETS = _child("dataset", _root.DATASETS, "mmsf.datasets")
TRANSFORMS = _child("transform", _root.TRANSFORMS, "mmsf.datasets")
METRICS = _child("metric", _root.METRICS, "mmsf.evaluation")
INFERENCERS = _child("inferencer", _root.INFERENCERS, "mmsf.engine")
HOOKS = _child("hook", _root.HOOKS, "mmsf.engine")
LOOPS = _child("loop", _root.LOOPS, "mmsf.engine")
OPTIM_WRAPPER_CONSTRUCTORS = _child("optimizer wrapper constructor", _root.OPTIM_WRAPPER_CONSTRUCTORS, "mmsf.engine")
# Adapters, range estimators, matching costs: small parts that are built from a config.
TASK_UTILS = _child("task util", _root.TASK_UTILS, "mmsf.quantization", "mmsf.adapters", "mmsf.models")

# Nothing of mmsf's own stands in these; with a node in scope "mmsf" and a location, MMEngine finds its own classes and does
# not warn.
for _parent in (
    *(
        _root.DATA_SAMPLERS,
        _root.EVALUATOR,
        _root.FUNCTIONS,
        _root.LOG_PROCESSORS,
        _root.MODEL_WRAPPERS,
        _root.OPTIM_WRAPPERS,
    ),
    *(_root.OPTIMIZERS, _root.PARAM_SCHEDULERS, _root.RUNNERS, _root.VISBACKENDS, _root.VISUALIZERS),
):
    _child(_parent.name, _parent, "mmsf")

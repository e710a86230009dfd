# The paper's Table 1: the public checkpoints on CULane. Needs data/culane and checkpoints/, see docs/benchmark.md.
_base_ = ["../_base_/benchmark/culane.py", "../_base_/benchmark/methods.py"]

title = "Table 1: detectors on CULane"
table = 1
detectors = list(_base_.culane.values())
methods = _base_.published
bits = ["w8a8", "w8a4", "w4a4"]

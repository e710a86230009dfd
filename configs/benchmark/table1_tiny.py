# The paper's Table 1 with small detectors on synthetic roads.
_base_ = ["../_base_/benchmark/tiny.py", "../_base_/benchmark/methods.py"]

title = "Small detectors on synthetic roads"
note = _base_.tiny_note
table = 1
detectors = list(_base_.tiny.values())
methods = _base_.small
bits = ["w8a8", "w8a4", "w4a4"]
seeds = [0, 1, 2]

# Small detectors at 4 bits, and with at most 5 % of the multiply-accumulates at 8 bits.
_base_ = ["../_base_/benchmark/tiny.py"]

title = "Bit plans, small detectors on synthetic roads"
detectors = list(_base_.tiny.values())
methods = [dict(name="best", title="best"), dict(name="best-mixed", title="best-mixed")]
bits = ["w8a4", "w4a4"]
seeds = [0, 1, 2]

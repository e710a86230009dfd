# How fast each method gets how far: the small CondLaneNet at W4A4, F1 over sample passes and over minutes. Every point is a
# run of its own. Minutes mean something only where nothing else keeps the machine busy.
_base_ = ["../_base_/benchmark/tiny.py", "../_base_/benchmark/ladder.py"]

title = "Convergence, small CondLaneNet on synthetic roads"
detectors = [_base_.tiny.condlanenet]
methods = [*_base_.untuned, *_base_.ladder]
bits = ["w4a4"]

# Methods at equal sample passes and at equal wall time: the small detectors at W4A4, with 1000, 2000 and 5000 passes. The
# tables at equal effort are read off between these runs. Minutes mean something only where nothing else keeps the machine
# busy.
_base_ = ["../_base_/benchmark/tiny.py", "../_base_/benchmark/ladder.py"]

title = "Equal effort, small detectors on synthetic roads"
detectors = list(_base_.tiny.values())
methods = [*_base_.untuned, *_base_.ladder[:15]]
bits = ["w4a4"]

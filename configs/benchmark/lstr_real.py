# LSTR with its authors' TuSimple weights on TuSimple frames: 1 to 32 calibrate, with the further folders; the others score.
#   python tools/benchmark.py grid configs/benchmark/lstr_real.py --checkpoint LSTR_500000.pkl --data-root PATH/tusimple \
#       --calibration-root FOLDER ...
_base_ = ["../_base_/benchmark/methods.py"]

title = "LSTR's TuSimple weights on TuSimple frames"
detectors = [dict(name="lstr", title="LSTR", config="configs/lstr/lstr_r18s-1x_tusimple.py")]
methods = _base_.small
bits = ["w8a8", "w8a4", "w4a4"]
seeds = [0, 1, 2]

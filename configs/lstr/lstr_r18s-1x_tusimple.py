# The authors' LSTR for TuSimple; LSTR_500000.pkl loads into it.
_base_ = [
    "../_base_/models/lstr.py",
    "../_base_/datasets/tusimple.py",
    "../_base_/schedules/lstr_500k.py",
    "../_base_/default_runtime.py",
]

input_size = (360, 640)

model = dict(
    adapter=dict(threshold=None, max_lanes=None, rows="tusimple", bounds="closed", x_range="any"),
)

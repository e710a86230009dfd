# A small LSTR for synthetic roads, 400 x 144: the authors' widths, trained in about an hour on a processor core. The
# weights are mmsf/zoo/lstr_tiny_synthetic.pth.
_base_ = [
    "../_base_/models/lstr.py",
    "../_base_/datasets/synthetic.py",
    "../_base_/schedules/lstr_tiny.py",
    "../_base_/default_runtime.py",
]

model = dict(
    dropout=0.0,
    bfloat16_backbone=True,
    adapter=dict(threshold=0.5),
    loss=dict(curve_weight=20.0),
)

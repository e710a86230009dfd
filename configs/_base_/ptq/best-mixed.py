# As `best`, with a bit plan: the layers whose quantization distorts the lanes most, with at most 5 % of the
# multiply-accumulates, get 8 bits. The bits are in the files best-mixed_w*a*.py.
_base_ = "./best.py"

ptq_train_cfg = dict(bit_planner=dict(budget="mac_share=0.05"))
ptq_custom_hooks = [
    dict(type="mmsf.SensitivityHook", interval=50, rest_weight=0.25),
    dict(type="mmsf.BestMomentHook", frames=0.125, interval=50),
    dict(type="mmsf.ResultHook", method="best-mixed", preset="best-mixed"),
]

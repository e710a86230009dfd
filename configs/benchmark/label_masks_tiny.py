# How good the float model's confidence (Eq. 5) is as a stand-in for masks from labels (Eq. 3), with no mask (Eq. 1) as the
# other end: the small detectors at W4A4. Only the last method sees labels of the calibration frames; it is a reference that
# quantization without labels cannot have.
_base_ = ["../_base_/benchmark/tiny.py", "../_base_/benchmark/ablation.py"]

title = "Masks from labels, small detectors on synthetic roads"
note = "Eq. 3 is tuned with labels of the calibration frames: a reference for Eq. 5, which has none."
detectors = list(_base_.tiny.values())
methods = [
    dict(name="no-mask", title="Eq. 1, no mask", preset="selective-focus", options=_base_.no_focus),
    dict(name="confidence", title="Eq. 5, float confidence", preset="selective-focus"),
    dict(
        name="labels",
        title="Eq. 3, masks from labels",
        preset="selective-focus",
        options={"model.label_focus": True, "train_dataloader.dataset.labelled": True},
    ),
]
bits = ["w4a4"]
seeds = [0, 1, 2]

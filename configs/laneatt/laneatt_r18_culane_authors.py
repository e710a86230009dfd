# LaneATT with ResNet-18 as its authors' weights expect it: BGR images resized by cubic interpolation, lengths without the
# anchor's start, splines through the rows. Trained as pytorch-auto-drive does; the authors leave out the anchors that do not
# survive a suppression.
_base_ = ["./laneatt_r18_culane.py"]

pipeline = [
    dict(type="LoadImage", scale=(640, 360), backend="cv2_cubic"),
    dict(type="PackLaneInputs"),
]
train_pipeline = [
    dict(type="LoadImage", scale=(640, 360), backend="cv2_cubic"),
    dict(type="RandomAffine", rotation=6.0, scale=(0.85, 1.15), shift=(25 / 1640, 10 / 590), probability=1.0),
    dict(type="RandomFlip"),
    dict(type="PackLaneInputs"),
]

model = dict(
    data_preprocessor=dict(bgr_to_rgb=False),
    start_in_length=False,
    adapter=dict(length_quirk="original", spline=True),
)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=pipeline))
test_dataloader = val_dataloader
calibration_dataloader = dict(dataset=dict(pipeline=pipeline))

# The authors' LSTR for CULane; LSTR_CULANE_500000.pkl loads into it. Its lower end comes first, its third class is unused.
_base_ = [
    "../_base_/models/lstr.py",
    "../_base_/datasets/culane.py",
    "../_base_/schedules/lstr_500k.py",
    "../_base_/default_runtime.py",
]

input_size = (295, 820)
pipeline = [
    dict(type="LoadImage", scale=(820, 295), backend="cv2"),
    dict(type="PackLaneInputs"),
]
train_pipeline = [
    dict(type="LoadImage", scale=(820, 295), backend="cv2"),
    dict(type="RandomFlip"),
    dict(type="RandomAffine"),
    dict(type="PhotometricJitter"),
    dict(type="PackLaneInputs"),
]

model = dict(
    num_classes=3,
    adapter=dict(threshold=None, max_lanes=None, rows="culane_original", bounds="swapped_upper", x_range="pixels"),
    loss=dict(upper_first=False),
)
train_dataloader = dict(batch_size=16, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=pipeline))
test_dataloader = val_dataloader
calibration_dataloader = dict(dataset=dict(pipeline=pipeline))

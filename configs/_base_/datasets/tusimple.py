# TuSimple, in a folder with one label file: frames 1 to 32 calibrate, the others evaluate. A model's config states its own
# input by giving its own `pipeline` and putting it into the four dataloaders.
data_root = "data/tusimple"
input_size = (360, 640)  # height, width of the network's input, pixels
calibration_root = []  # further folders of images to calibrate with
evaluation_dataset = dict(type="TuSimpleDataset", data_root=data_root, frames=(33, None))

pipeline = [
    dict(type="LoadImage", scale=input_size[::-1], backend="cv2"),
    dict(type="PackLaneInputs"),
]
train_pipeline = [
    dict(type="LoadImage", scale=input_size[::-1], backend="cv2"),
    dict(type="RandomFlip"),
    dict(type="RandomAffine"),
    dict(type="PhotometricJitter"),
    dict(type="PackLaneInputs"),
]

train_dataloader = dict(
    batch_size=16,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(type="TuSimpleDataset", data_root=data_root, frames=(1, 32), pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=16,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(**evaluation_dataset, pipeline=pipeline, test_mode=True),
)
test_dataloader = val_dataloader
# Calibration sees no evaluation frames, and no labels.
calibration_dataloader = dict(
    batch_size=8,
    num_workers=2,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type="CalibrationDataset",
        datasets=[dict(type="TuSimpleDataset", data_root=data_root, frames=(1, 32))],
        calibration_root=calibration_root,
        exclude=[evaluation_dataset],
        pipeline=pipeline,
    ),
)

val_evaluator = dict(type="TuSimpleMetric")
test_evaluator = val_evaluator

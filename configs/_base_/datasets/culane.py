# CULane. A model's config states its own input by giving its own `pipeline` and putting it into the four dataloaders.
data_root = "data/culane"
input_size = (288, 800)  # height, width of the network's input, pixels
calibration_root = []  # further folders of images to calibrate with
evaluation_dataset = dict(type="CULaneDataset", data_root=data_root, list_file="list/test.txt")

pipeline = [
    dict(type="LoadImage", scale=input_size[::-1], backend="pil"),
    dict(type="PackLaneInputs"),
]
train_pipeline = [
    dict(type="LoadImage", scale=input_size[::-1], backend="pil"),
    dict(type="RandomFlip"),
    dict(type="RandomAffine"),
    dict(type="PhotometricJitter"),
    dict(type="PackLaneInputs"),
]

train_dataloader = dict(
    batch_size=20,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(type="CULaneDataset", data_root=data_root, list_file="list/train.txt", pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=16,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(**evaluation_dataset, pipeline=pipeline, test_mode=True),
)
test_dataloader = val_dataloader
# Calibration sees images of the training split, never evaluation frames, and no labels.
calibration_dataloader = dict(
    batch_size=8,
    num_workers=2,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type="CalibrationDataset",
        datasets=[dict(type="CULaneDataset", data_root=data_root, list_file="list/train.txt", count=512)],
        calibration_root=calibration_root,
        exclude=[evaluation_dataset],
        pipeline=pipeline,
    ),
)

val_evaluator = dict(type="CULaneMetric")
test_evaluator = val_evaluator

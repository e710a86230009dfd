# onedl-mmdetection's CLRNet on CULane: its own model, head, sample and metric classes, with what its shipped clrnet.py lacks
# to be built: data, and a backbone whose levels the neck expects. Needs mmcv with compiled ops (docs/openmmlab.md).
_base_ = ["mmdet::clrnet/clrnet.py"]
custom_imports = dict(
    _delete_=True, imports=["mmsf", "mmdet.models", "mmdet.datasets", "mmdet.evaluation"], allow_failed_imports=False
)

data_root = "data/culane"
train_data_root = data_root
input_size = (320, 800)  # height, width of the network's input, pixels
calibration_root = []  # further folders of images to calibrate with
evaluation_dataset = dict(type="mmsf.CULaneDataset", data_root=data_root, list_file="list/test.txt")

# CLRFPN takes the first three of the backbone's levels; these are at strides 8, 16 and 32.
model = dict(
    backbone=dict(
        depth=18,
        out_indices=(1, 2, 3),
        frozen_stages=-1,
        norm_eval=False,
        init_cfg=dict(checkpoint="torchvision://resnet18"),
    ),
    neck=dict(in_channels=[128, 256, 512]),
    # The authors sum the focal loss over the priors; the default here takes the mean, which nearly vanishes.
    head=dict(num_classes_seg=2, cls_loss=dict(type="FocalLoss", alpha=0.25, gamma=2.0, reduction="sum")),
)
# The raw heads as mmsf reads them, decoded with its own line NMS. Thresholds: the CLRNet authors' for CULane.
adapter = dict(type="mmsf.CLRNetAdapter", input_size=input_size, threshold=0.4, nms_distance=50.0, max_lanes=4)

to_array = dict(type="LinesToArray", img_height=input_size[0], img_width=input_size[1], max_lines=6, num_points=72)
pipeline = [
    dict(type="mmsf.LoadImage", scale=input_size[::-1], backend="cv2_cubic"),
    dict(type="mmsf.ToLineDetection"),
    to_array,
    dict(type="mmsf.PackAs", pack=dict(type="PackLineDetectionInputs")),
]
train_pipeline = [
    dict(type="mmsf.LoadImage", scale=input_size[::-1], backend="cv2_cubic"),
    dict(type="mmsf.RandomFlip"),
    dict(type="mmsf.RandomAffine"),
    dict(type="mmsf.PhotometricJitter"),
    dict(type="mmsf.ToLineDetection", mask_width=16),
    to_array,
    dict(type="mmsf.PackAs", pack=dict(type="PackLineDetectionInputs")),
]
train_dataloader = dict(
    batch_size=24,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(type="mmsf.CULaneDataset", data_root=train_data_root, list_file="list/train.txt", pipeline=train_pipeline),
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
        type="mmsf.CalibrationDataset",
        datasets=[dict(type="mmsf.CULaneDataset", data_root=train_data_root, list_file="list/train.txt", count=512)],
        calibration_root=calibration_root,
        exclude=[evaluation_dataset],
        pipeline=pipeline,
    ),
)

# The authors' schedule: AdamW 6e-4, cosine decay over 15 epochs of 24 images an iteration.
optim_wrapper = dict(_delete_=True, type="OptimWrapper", optimizer=dict(type="AdamW", lr=6e-4))
param_scheduler = [dict(type="CosineAnnealingLR", T_max=15, by_epoch=True, convert_to_iter_based=True)]
train_cfg = dict(max_epochs=15)
default_hooks = dict(checkpoint=dict(save_best=None, greater_keys=None, backend_args=dict(backend="mmsf.whole_or_absent")))
log_processor = dict(by_epoch=False)

# A small CLRNet for synthetic roads, 400 x 144: ResNet-18 with a quarter of the channels and of the priors and a third of
# the sample points. It starts from the small LSTR's backbone.
_base_ = ["./clrnet_r18_culane.py"]

# The splits are those of configs/_base_/datasets/synthetic.py.
data_root = "data/synthetic/tuning"
train_data_root = "data/synthetic/train"
input_size = (144, 400)
calibration_root = ["data/synthetic/calibration"]
evaluation_dataset = dict(type="mmsf.CULaneDataset", data_root=data_root, list_file="list/test.txt")

model = dict(
    data_preprocessor=dict(
        mean=[104.01362025, 114.03422265, 119.9165825], std=[73.6027614, 69.8910804, 70.91507925], bgr_to_rgb=False
    ),
    backbone=dict(
        stem_channels=16,
        base_channels=16,
        init_cfg=dict(checkpoint="mmsf/zoo/lstr_tiny_synthetic.pth", prefix="backbone."),
    ),
    neck=dict(in_channels=[32, 64, 128], out_channels=32),
    head=dict(
        prior_feat_channels=32, fc_hidden_dim=32, num_priors=48, sample_points=12, img_h=input_size[0], img_w=input_size[1]
    ),
)
adapter = dict(input_size=input_size, nms_distance=25.0)

to_array = dict(type="LinesToArray", img_height=input_size[0], img_width=input_size[1], max_lines=6, num_points=72)
pipeline = [
    dict(type="mmsf.LoadImage", scale=input_size[::-1], backend="pil"),
    dict(type="mmsf.ToLineDetection"),
    to_array,
    dict(type="mmsf.PackAs", pack=dict(type="PackLineDetectionInputs")),
]
train_pipeline = [
    dict(type="mmsf.LoadImage", scale=input_size[::-1], backend="pil", cache=True),
    dict(type="mmsf.RandomFlip"),
    # The synthetic camera is mounted once for all frames: small moves only.
    dict(type="mmsf.RandomAffine", rotation=1.0, scale=(0.96, 1.04), shift=(0.03, 0.02), probability=0.7),
    dict(type="mmsf.PhotometricJitter"),
    dict(type="mmsf.ToLineDetection", mask_width=8),
    to_array,
    dict(type="mmsf.PackAs", pack=dict(type="PackLineDetectionInputs")),
]
train_dataloader = dict(
    batch_size=8,
    num_workers=0,
    persistent_workers=False,
    sampler=dict(type="InfiniteSampler", shuffle=True),
    dataset=dict(data_root=train_data_root, pipeline=train_pipeline),
)
val_dataloader = dict(
    num_workers=0, persistent_workers=False, dataset=dict(**evaluation_dataset, pipeline=pipeline, test_mode=True)
)
test_dataloader = val_dataloader
calibration_dataloader = dict(
    num_workers=0,
    dataset=dict(datasets=[], calibration_root=calibration_root, count=512, exclude=[evaluation_dataset], pipeline=pipeline),
)

optim_wrapper = dict(optimizer=dict(lr=1e-3, weight_decay=1e-2), clip_grad=dict(max_norm=5.0))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.04, by_epoch=False, begin=0, end=50),
    dict(type="CosineAnnealingLR", by_epoch=False, begin=50, end=1000, eta_min=1e-6),
]
train_cfg = dict(_delete_=True, type="IterBasedTrainLoop", max_iters=1000, val_interval=1000)
default_hooks = dict(
    checkpoint=dict(by_epoch=False, interval=250, max_keep_ckpts=2), logger=dict(interval=20, log_metric_by_epoch=False)
)

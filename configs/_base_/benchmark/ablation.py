# What Table 2 takes away: the focus on confident places (their weight is the same everywhere), and selection (all heads have
# weight 1, and are not ranked while tuning).
no_focus = {"model.loss.focus_power": 0.0}
no_selection = {"custom_hooks.0.rest_weight": 1.0, "custom_hooks.0.interval": 1_000_000}

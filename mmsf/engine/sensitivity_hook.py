"""Sensitivity Aware Selection while tuning: re-rank the heads at fixed intervals."""

import math
from dataclasses import replace

import torch
from mmengine.dist import all_gather, all_reduce
from mmengine.hooks import Hook

from mmsf.errors import UserError, require_number, require_whole
from mmsf.registry import HOOKS
from mmsf.sensitivity import algorithm1_scores, default_top_k, order_agreement, slope_weights, top_k
from mmsf.sensitivity.curves import scores_at

# Of the curves that are measured again while tuning: a few levels around the present error.
_AROUND = dict(levels=5, span=(0.4, 2.5))


@HOOKS.register_module()
class SensitivityHook(Hook):
    """Every ``interval`` iterations, queries the curves with the heads' present losses and selects the top k.

    While tuning, the errors of a head change not only in size: what cancelled in the lanes may no longer cancel. So the
    curves are measured again at a re-ranking, around the present loss, with noise like the errors of the last mini-batches;
    that needs no run of the network. A single head is not ranked.

    Args:
        interval: Iterations between two re-rankings; the first happens before the first iteration.
        heads: Semantic heads that may be selected; None for all of them.
        k: Heads to select; None is the paper's choice (1 of two heads, else 2).
        rest_weight: Weight of the heads that are not selected, against 1 of those that are. The paper reads like 0. But in a
            network that quantization has broken, every head matters: left at 0, LSTR's ends of lanes drift at W4A4.
        recent_frames: Frames of the last mini-batches whose errors the noise is drawn from.
        momentum: Share of the old value in the running mean of the heads' losses; with single batches the order would flap.
        selection: 'top-k', or 'slope': weights of ``heads`` in proportion to the rise of their curves at their present
            losses, with a mean of 1; those above the mean count as selected, and ``rest_weight`` is that of other heads.
        exact_frames: Also run Algorithm 1 on so many calibration frames at every re-ranking, to compare; 0 leaves it out.

    Attributes:
        history: One entry a re-ranking: iteration, losses, scores, weights, selected heads; with ``exact_frames`` also the
            scores of Algorithm 1 and the agreement of the two orders.

    Source:
        Selective Focus, Sensitivity Aware Selection (2) and (3).
    """

    priority = "NORMAL"

    def __init__(
        self,
        interval: int = 50,
        heads: list[str] | None = None,
        k: int | None = None,
        rest_weight: float = 0.0,
        recent_frames: int = 64,
        momentum: float = 0.9,
        selection: str = "top-k",
        exact_frames: int = 0,
    ) -> None:
        require_whole("SensitivityHook", "interval", interval, 1)
        if k is not None:
            require_whole("SensitivityHook", "k", k, 1)
        require_whole("SensitivityHook", "recent_frames", recent_frames, 1)
        require_whole("SensitivityHook", "exact_frames", exact_frames, 0)
        require_number("SensitivityHook", "momentum", momentum, 0, below=1)
        require_number("SensitivityHook", "rest_weight", rest_weight, 0)
        if heads is not None and (isinstance(heads, str) or not heads):
            raise UserError("SensitivityHook: heads is a list of names of heads; leave it out to select among all")
        if selection not in ("top-k", "slope"):
            raise UserError(f"SensitivityHook: selection must be top-k or slope; got {selection!r}")
        self.selection = selection
        self.interval, self.heads, self.k, self.rest_weight = interval, heads, k, rest_weight
        self.recent_frames, self.momentum, self.exact_frames = recent_frames, momentum, exact_frames
        self.history: list[dict] = []
        self._losses: torch.Tensor | None = None
        self._recent: list[dict[str, torch.Tensor]] = []

    def before_train(self, runner) -> None:
        """Refuse heads that the detector does not have, before any work is done."""
        known = runner.train_loop.model.adapter.semantic_heads
        unknown = [name for name in self.heads or () if name not in known]
        if unknown:
            raise UserError(f"SensitivityHook: there is no head {unknown[0]!r}; this detector's are {', '.join(known)}")
        self.heads = list(known) if self.heads is None else list(self.heads)

    def before_train_iter(self, runner, batch_idx: int, data_batch: dict | None = None) -> None:
        """Rank by the errors after range estimation before the first iteration."""
        if not self.history:
            losses = runner.train_loop.errors["before"]
            self._losses = torch.tensor([losses[name] for name in runner.train_loop.model.adapter.semantic_heads])
            self._rank(runner, iteration=0)

    def after_train_iter(self, runner, batch_idx: int, data_batch: dict | None = None, outputs: dict | None = None) -> None:
        """Follow the losses; re-rank at the interval."""
        model = runner.train_loop.model
        errors = torch.stack([outputs[f"error_{name}"] for name in model.adapter.semantic_heads])
        # Several processes share the batch evenly.
        all_reduce(errors, "mean")
        self._losses = self._losses.to(errors) * self.momentum + errors * (1 - self.momentum)
        if len(model.adapter.semantic_heads) > 1:
            self._remember({name: torch.cat(all_gather(error)).cpu() for name, error in model.present_errors.items()})
        if (batch_idx + 1) % self.interval == 0:
            if self._recent:
                errors = {name: torch.cat([batch[name] for batch in self._recent]) for name in self._recent[0]}
                settings = replace(runner.train_loop.curve_settings, **_AROUND)
                runner.train_loop.last_curves = runner.train_loop.curves_of(errors, settings)
            self._rank(runner, iteration=batch_idx + 1)

    def _remember(self, errors: dict[str, torch.Tensor]) -> None:
        """Keep the last mini-batches, ``recent_frames`` frames of them at least."""
        self._recent.append(errors)
        batches = math.ceil(self.recent_frames / len(next(iter(errors.values()))))
        self._recent = self._recent[-batches:]

    def _rank(self, runner, iteration: int) -> None:
        loop = runner.train_loop
        model = loop.model
        heads = model.adapter.semantic_heads
        losses = dict(zip(heads, self._losses.tolist()))
        curves = loop.curves | loop.last_curves
        scores = scores_at(curves, losses)
        weights = dict.fromkeys(heads, self.rest_weight if loop.sees_lanes else 0.0)
        if not loop.sees_lanes:
            selected = []
        elif self.selection == "slope":
            weights |= slope_weights({name: curves[name].slope(losses[name]) for name in self.heads})
            selected = [name for name in self.heads if weights[name] >= 1]
        else:
            selected = top_k({name: scores[name] for name in self.heads}, self.k or default_top_k(len(self.heads)))
            weights |= dict.fromkeys(selected, 1.0)
        model.head_weights.copy_(torch.tensor(list(weights.values())))
        entry = dict(iteration=iteration, losses=losses, scores=scores, weights=weights, selected=selected)
        if self.exact_frames:
            index = list(range(min(self.exact_frames, len(loop.frames))))
            entry["algorithm1"] = algorithm1_scores(
                model.adapter,
                model.kept_heads(index),
                model.adapter.split(loop.quantized_outputs(index)),
                [loop.frames.samples[i].metainfo for i in index],
                loop.rule,
            )
            # A mean, as the curves' scores are.
            entry["algorithm1"] = {name: score / len(index) for name, score in entry["algorithm1"].items()}
            entry["tau"] = order_agreement(scores, entry["algorithm1"])
        self.history.append(entry)
        for name in heads:
            told = dict(mean_error=losses[name], score=scores[name], weight=weights[name], selected=float(name in selected))
            if self.exact_frames:
                told["algorithm1"] = entry["algorithm1"][name]
            # LoggerHook passes on what stands under "train/" to every visualization backend.
            for what, value in told.items():
                runner.message_hub.update_scalar(f"train/sensitivity/{what}_{name}", value)
        if "tau" in entry:
            runner.message_hub.update_scalar("train/sensitivity/tau", entry["tau"])
        listed = ", ".join(f"{n} loss {losses[n]:.3g} score {scores[n]:.3g}{' *' if n in selected else ''}" for n in heads)
        runner.logger.info(f"selection at iteration {iteration}: {listed}")

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """The history and the running means travel with the checkpoint."""
        checkpoint["sensitivity"] = dict(history=self.history, losses=self._losses, recent=self._recent)

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Take them up again."""
        if "sensitivity" in checkpoint:
            state = checkpoint["sensitivity"]
            self.history, self._losses = state["history"], state["losses"]
            # MMEngine puts a whole checkpoint on the model's device; the curves are measured on the processor.
            self._recent = [{name: error.cpu() for name, error in errors.items()} for errors in state["recent"]]

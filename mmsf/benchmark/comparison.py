"""mmsf's AdaRound beside other packages' on one detector, as `tools/compare_peers.py` starts it."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmsf.benchmark.bootstrap import f1_of_sums, resampled_f1
from mmsf.benchmark.cell import prepare
from mmsf.benchmark.environments import environment, run_script
from mmsf.benchmark.grid import Cell, Detector, Method
from mmsf.benchmark.peers import PEERS, score, write_job
from mmsf.engine.ptq import ptq_config
from mmsf.errors import UserError
from mmsf.files import require_folder, whole_or_absent

RESULT, SCORES = "result.json", "scores.json"
PRESET = "adaround"
RANGES = {"mmsf_ranges": "mmsf", "own_ranges": "its own"}


class Comparison:
    """One detector at the same bits, quantized by mmsf's `adaround` preset and by peers.

    What is finished in the work directory, made from the same settings, is not done again.

    Args:
        config: A float config.
        checkpoint: Its float weights.
        bits: Such as 'w4a4'.
        root: The repository, whose ``tools/peers`` run in the peers' environments.
        work_dir: Where environments and results go.
        peers: Names in `PEERS`.
        frames: Calibration frames; None leaves the config's number.
        iterations: Of every layer, mmsf's too; None leaves everyone its default.
        data_root: As `tools/ptq.py`.
        calibration_root: As `tools/ptq.py`.

    Raises:
        UserError: A wrong argument, config or file.
    """

    def __init__(
        self,
        config: str | Path,
        checkpoint: str,
        bits: str,
        root: Path,
        work_dir: str | Path,
        peers: Sequence[str],
        frames: int | None = None,
        iterations: int | None = None,
        data_root: str | None = None,
        calibration_root: list[str] | None = None,
    ) -> None:
        if unknown := [name for name in peers if name not in PEERS]:
            raise UserError(f"there is no peer {unknown[0]!r}; known: {', '.join(PEERS)}")
        for name, value in (("--frames", frames), ("--iterations", iterations)):
            if value is not None and value < 1:
                raise UserError(f"{name} must be at least 1; got {value}")
        self.root, self.work_dir, self.peers, self.iterations = (
            root,
            Path(work_dir).resolve(),
            list(dict.fromkeys(peers)),
            iterations,
        )
        options: dict[str, Any] = {}
        if frames is not None:
            options["train_dataloader.dataset.count"] = frames
        if iterations is not None:
            options["train_cfg.reconstruction.iterations"] = iterations
        self.bits = bits.lower()
        detector = Detector(Path(config).stem, str(config), checkpoint, data_root, calibration_root)
        cell = Cell(detector, Method(PRESET, PRESET), self.bits, 0)
        presets = root / "configs" / "_base_" / "ptq"
        (self.own,) = prepare([cell], self.work_dir, presets, options)
        arguments = {key: value for key, value in self.own.arguments.items() if key not in ("work_dir", "resume")}
        self.cfg = ptq_config(**{**arguments, "presets": presets})

    def run(self, say: Callable[[str], None]) -> str:
        """Do what is not finished, then write ``comparison.json`` and ``comparison.md``.

        Args:
            say: Takes a line for the user.

        Returns:
            The text of ``comparison.md``.

        Raises:
            UserError: A part failed.
        """
        require_folder(self.work_dir)
        if not self.own.finished():
            say(f"mmsf AdaRound: running, log in {self.own.folder / 'console.log'}")
            if error := self.own.start():
                raise UserError(f"mmsf AdaRound failed: {error}")
        found = {name: self._of_peer(name, say) for name in self.peers}
        content = self.content(found)
        text = markdown(content)
        for name, written in (("comparison.json", json.dumps(content, indent=1) + "\n"), ("comparison.md", text)):
            with whole_or_absent(self.work_dir / name) as temporary:
                temporary.write_text(written)
        return text

    def _of_peer(self, name: str, say: Callable[[str], None]) -> dict[str, Any]:
        """``result.json`` and ``scores.json`` of a peer, made if they are not there."""
        peer, scripts = PEERS[name], self.root / "tools" / "peers"
        python = environment(self.work_dir / "environments" / name, self._requirements(name), say)
        folder = self.own.folder.parent.parent / name
        made_from = self.own.fingerprint + "".join((scripts / s).read_text() for s in (peer.script, "exchange.py"))
        fingerprint = hashlib.sha256((made_from + str(peer.requirements)).encode()).hexdigest()
        if _read(folder / "made_from.json").get("fingerprint") != fingerprint:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            (folder / "made_from.json").write_text(json.dumps({"fingerprint": fingerprint}))
        if not _read(folder / RESULT):
            log = folder / "console.log"
            say(f"{peer.title}: running, log in {log}")
            write_job(folder, self.cfg, self.iterations)
            # A peer's network stays on the processor, where its float outputs are checked.
            variables = {**os.environ, "PYTHONPATH": str(self.root), "CUDA_VISIBLE_DEVICES": ""}
            command = [str(python), "-u", "-W", "ignore", str(scripts / peer.script), str(folder)]
            if error := run_script(command, log, say, env=variables):
                raise UserError(f"{peer.title} failed: {error} (its log is {log})")
        if not _read(folder / SCORES):
            say(f"{peer.title}: evaluating")
            scores = score(self.cfg, folder / "weights.pth", folder)
            with whole_or_absent(folder / SCORES) as temporary:
                temporary.write_text(json.dumps(scores))
        return {**_read(folder / RESULT), "scores": _read(folder / SCORES)}

    def _requirements(self, name: str) -> list[list[str]]:
        """Rows for pip: the peer and mmsf with its stack, then OpenCV's wheel that needs no display, over the other one."""
        return [
            [*PEERS[name].requirements, "--editable", f"{self.root}[onedl]"],
            ["--force-reinstall", "--no-deps", "opencv-python-headless<4.13"],
        ]

    def content(self, found: dict[str, dict[str, Any]]) -> dict[str, Any]:
        """``comparison.json``: every row of the table, with what is otherwise for each peer.

        Args:
            found: Peer -> its result and scores.
        """
        summary, frames = self.own.read("summary.json"), self.own.read("frames.json")
        settings = self.cfg.train_cfg.reconstruction
        seconds = {key: value for key, value in summary["seconds"].items() if not key.startswith("evaluation")}
        own = dict(
            iterations=settings.iterations,
            batch_size=min(settings.batch_size, summary["frames"]["calibration"]),
            seconds=seconds.get("ranges", 0.0) + seconds.get("tuning", 0.0),
        )
        rows = [
            dict(method="float", ranges=None, scores=frames["float"]),
            dict(
                method="mmsf, rounded to nearest", ranges="mmsf", scores=frames["calibrated"], seconds=seconds.get("ranges")
            ),
            dict(method="mmsf AdaRound", ranges="mmsf", scores=frames["quantized"], **own),
        ]
        for name, result in found.items():
            for stage, ranges in RANGES.items():
                scored = result["scores"][stage]["frames"]
                if scored["frames"] != frames["frames"]:
                    raise UserError(f"{name} was evaluated on other frames; remove {self.work_dir} and start again")
                taken = dict(iterations=result["iterations"], batch_size=result["batch_size"])
                taken["seconds"] = sum(result["seconds"].values())
                rows.append(dict(method=PEERS[name].title, ranges=ranges, scores=scored["scores"], **taken))
        scores = np.array([row.pop("scores") for row in rows], np.float64)
        f1 = f1_of_sums(scores.sum(1), scores.shape[1], frames["columns"])
        errors = resampled_f1(scores, frames["columns"]).std(0, ddof=1)
        for row, value, error in zip(rows, f1, errors):
            row.update(f1=float(value), standard_error=float(error))
        return dict(
            detector=self.own.cell.detector.name,
            bits=self.bits,
            frames=dict(calibration=summary["frames"]["calibration"], evaluation=len(frames["frames"])),
            rows=rows,
            peers={
                name: dict(
                    versions=result["versions"],
                    differences=result["differences"],
                    operands_left_to_mmsf=result["scores"]["own_ranges"]["missing"],
                )
                for name, result in found.items()
            },
            versions=summary["versions"],
        )


def markdown(content: dict[str, Any]) -> str:
    """``comparison.md`` from ``comparison.json``."""
    frames = content["frames"]
    lines = [
        f"# {content['detector']} at {content['bits'].upper()}: mmsf's AdaRound beside other packages'",
        "",
        f"{frames['calibration']} calibration frames, F1 in percent on {frames['evaluation']} others, ± standard error over "
        "frames. The same folded network, quantized places and bits in every row; weights are symmetric per output channel, "
        "activations affine per tensor. Seconds: ranges and tuning, wall time.",
        "",
        "| Weights | Activation ranges | F1 | Iterations a layer | Batch | Seconds |",
        "| :-- | :-- | --: | --: | --: | --: |",
    ]
    for row in content["rows"]:
        seconds = row.get("seconds")
        cells = [row["method"], row["ranges"] or "–", f"{100 * row['f1']:.2f} ± {100 * row['standard_error']:.2f}"]
        cells += [str(row.get(key, "–")) for key in ("iterations", "batch_size")]
        lines.append(f"| {' | '.join([*cells, '–' if seconds is None else f'{seconds:.0f}'])} |")
    for name, peer in content["peers"].items():
        versions = ", ".join(f"{package} {version}" for package, version in peer["versions"].items())
        lines += ["", f"{PEERS[name].title} ({versions}), otherwise than mmsf's AdaRound:", ""]
        lines += [f"- {difference}" for difference in peer["differences"]]
        if peer["operands_left_to_mmsf"]:
            lines.append(f"- ranges left to mmsf: {', '.join(peer['operands_left_to_mmsf'])}")
    return "\n".join(lines) + "\n"


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}

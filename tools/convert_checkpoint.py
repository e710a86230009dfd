"""Rename the weights of an original project's checkpoint and check that they load strictly.

With --config, the weights that a training here left are taken out of its checkpoint: without the optimizer's state, and as
they are averaged where the config averages them.
"""

import argparse
from pathlib import Path

from mmsf.cli import add_trust, run
from mmsf.engine.adapted import float_model
from mmsf.engine.building import build
from mmsf.engine.config import read_config, require_keys
from mmsf.errors import UserError
from mmsf.files import require_place
from mmsf.models.checkpoints import FAMILIES, convert, load_float_checkpoint, read_checkpoint, recognise
from mmsf.models.detectors import AdaptedDetector
from mmsf.registry import MODELS
from mmsf.safe_globals import save


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", metavar="SRC", help="checkpoint file of the original project")
    parser.add_argument("--out", required=True, metavar="DST", help="file to write")
    parser.add_argument("--family", choices=sorted(FAMILIES), help="refuse a file of any other family")
    parser.add_argument("--config", help="float config of the detector that the checkpoint is of; its keys are kept")
    add_trust(parser)
    return parser.parse_args()


def extract(config: str, source: str, out: str, trusted: bool) -> None:
    """Write the weights of a checkpoint that MMEngine left."""
    cfg = read_config(config)
    require_keys(cfg, "model")
    model = build(MODELS, float_model(cfg), "model")
    load_float_checkpoint(model, source, trusted)
    if isinstance(model, AdaptedDetector):
        model = model.detector
    save({"state_dict": model.state_dict(), "meta": {"config": Path(config).stem}}, out)
    print(f"weights of {config} loaded strictly, written to {out}")


def main() -> None:
    arguments = parse_arguments()
    require_place(arguments.out)
    if arguments.config is not None:
        if arguments.family is not None:
            raise UserError("--family does not go with --config, which says what the file is of")
        return extract(arguments.config, arguments.source, arguments.out, arguments.trust_checkpoint)
    checkpoint = read_checkpoint(arguments.source, arguments.trust_checkpoint)
    name = recognise(checkpoint.state)
    if name is None:
        raise UserError(f"{arguments.source} is of no family known here; known are {', '.join(sorted(FAMILIES))}")
    family = FAMILIES[name]
    if arguments.family not in (None, name):
        raise UserError(f"{arguments.source} looks like {family.title}, not {FAMILIES[arguments.family].title}")
    if family.rename is None:
        raise UserError(f"{arguments.source} looks like {family.title}, which mmsf has no detector for")
    try:
        state = convert(checkpoint.state, name)
        model = MODELS.build(family.model_config(state))
        model.load_state_dict(state, strict=True)
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(f"{arguments.source} looks like {family.title} but does not load: {error}") from error
    save({"state_dict": model.state_dict(), "meta": {"family": name}}, arguments.out)
    for note in checkpoint.notes:
        print(note)
    print(f"{family.title}: {len(state)} weights renamed and loaded strictly, written to {arguments.out}")


if __name__ == "__main__":
    run(main)

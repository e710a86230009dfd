"""What contributors are told is so."""

import configparser
import re
from pathlib import Path

from mmengine.fileio import load

ROOT = Path(__file__).parents[2]


def test_every_place_that_contributors_are_sent_to_exists():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    places = re.findall(r"`((?:mmsf|configs|tests|tools|docs)/[\w./-]*)`", text)
    places = [place for place in places if "NAME" not in place]
    assert len(places) > 10
    assert [place for place in places if not (ROOT / place).exists()] == []


def test_pre_commit_runs_the_ruff_of_the_development_packages():
    setup = configparser.ConfigParser(interpolation=None)
    setup.read(ROOT / "setup.cfg")
    (pinned,) = [line for line in setup["options.extras_require"]["dev"].splitlines() if line.startswith("ruff")]
    (repository,) = load(ROOT / ".pre-commit-config.yaml")["repos"]
    assert [hook["additional_dependencies"] for hook in repository["hooks"]] == [[pinned], [pinned]]

"""The table of failure drills names tests that are there."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROWS = [line for line in (ROOT / "docs" / "drills.md").read_text().splitlines() if line.startswith("| ")][1:]
TEST = re.compile(r"`([\w/]+\.py)::(test_\w+)`")


def test_every_drill_names_its_tests_and_every_named_test_exists():
    assert len(ROWS) > 20
    for row in ROWS:
        drill, happens, tests = (cell.strip() for cell in row.strip("|").split(" | "))
        assert drill
        assert happens
        named = TEST.findall(tests)
        assert len(named) == tests.count("`") // 2 > 0, row
        for file, name in named:
            content = ast.parse((ROOT / "tests" / file).read_text()).body
            assert name in {node.name for node in content if isinstance(node, ast.FunctionDef)}, f"{file}::{name}"


def test_every_test_of_the_drills_own_file_stands_in_the_table():
    file = "test_engine/test_drills.py"
    content = ast.parse((ROOT / "tests" / file).read_text()).body
    ours = {(file, node.name) for node in content if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}
    assert ours
    assert ours <= set(TEST.findall("\n".join(ROWS)))

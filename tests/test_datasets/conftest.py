"""A small set of synthetic roads that the tests of this folder share."""

import pytest

from mmsf.datasets.synthetic import write_dataset


@pytest.fixture(scope="session")
def roads(tmp_path_factory):
    """Six frames in CULane's layout, drawn by one process."""
    root = tmp_path_factory.mktemp("roads")
    write_dataset(root, frames=6, seed=5)
    return root

"""What all tests share: one thread, and real data sets that lie outside the repository."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

# Before torch or NumPy are loaded: tests compare figures, and two threads may add them up in another order.
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import pytest  # noqa: E402
from hypothesis import settings  # noqa: E402

# Equal cases in every run, and no limit on the time of one: a busy machine is no defect.
settings.register_profile("ghostfit", derandomize=True, deadline=None, database=None)
settings.load_profile("ghostfit")

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def real_data() -> Callable[[str], Path]:
    """Path of a real data set by name, or the test is skipped.

    They are looked for in the folder that the environment variable GHOSTFIT_DATA names, else in ``shared/data`` beside
    the repository.
    """
    root = Path(os.environ.get("GHOSTFIT_DATA", REPOSITORY.parent / "shared" / "data"))

    def find(name: str) -> Path:
        if not (root / name).exists():
            pytest.skip(f"needs the data set {name}, which is not in {root}; GHOSTFIT_DATA names the folder")
        return root / name

    return find

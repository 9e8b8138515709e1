import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # `fake_run` is a script as well, to look at a page

from fake_run import write_fake_run


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run; not to be changed."""
    return write_fake_run(tmp_path_factory.mktemp("runs") / "flowers", num_evaluations=60, num_bytes=5_000)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_fake_run(tmp_path_factory.mktemp("runs") / "small", num_evaluations=20, num_bytes=5_000)


@pytest.fixture
def small_run(template: Path, tmp_path: Path) -> Path:
    """A finished run that a test may spoil."""
    return shutil.copytree(template, tmp_path / "flowers")


@pytest.fixture(scope="session", params=["detect", "instance", "segment"])
def dense_task(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def dense_run(dense_task: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of a task whose answers have places; not to be changed."""
    path = tmp_path_factory.mktemp("runs") / dense_task
    return write_fake_run(path, task=dense_task, num_evaluations=20, num_bytes=5_000)


@pytest.fixture
def spoiled_run(dense_run: Path, tmp_path: Path) -> Path:
    """The same, for a test that spoils it."""
    return shutil.copytree(dense_run, tmp_path / dense_run.name)

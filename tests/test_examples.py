"""The examples run, and what the documentation says of the command is what the command says."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from ghostfit.cli import VERBS

REPOSITORY = Path(__file__).parents[1]
EXAMPLES = REPOSITORY / "examples"
PAGES = sorted([*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md"), *REPOSITORY.glob("examples/*.md")])


def run(name: str, *words: str, cwd: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / name), *words],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_architectures(tmp_path: Path) -> None:
    assert "ghostnet_100 at 96 px: 3.91 M parameters" in run("architectures.py", cwd=tmp_path)


@pytest.mark.slow
def test_train_export_and_predict(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from PIL import Image
    from sklearn.datasets import load_digits

    assert "and the model says" in run("train_digits.py", "runs/example", "20", cwd=tmp_path)
    Image.fromarray((load_digits().images[0] * 15).astype("uint8")).save(tmp_path / "zero.png")
    (tmp_path / "broken.png").write_bytes(b"no image")
    lines = run("predict.py", "runs/example", "zero.png", "broken.png", cwd=tmp_path).splitlines()
    assert lines[0].startswith("zero.png: ")
    assert lines[1].startswith("broken.png: ")


def test_every_example_is_listed() -> None:
    listed = set(re.findall(r"`(\w+\.py)`", (EXAMPLES / "README.md").read_text(encoding="utf-8")))
    assert listed == {path.name for path in EXAMPLES.glob("*.py")}


@pytest.fixture(scope="module")
def flags() -> ModuleType:
    spec = importlib.util.spec_from_file_location("flags", REPOSITORY / "docs" / "flags.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("verb", VERBS)
def test_the_table_of_arguments_is_that_of_the_command(verb: str, flags: ModuleType) -> None:
    page = (REPOSITORY / "docs" / "commands" / f"{verb}.md").read_text(encoding="utf-8")
    assert flags.with_table(page, verb) == page, "run: make docs"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_commands_in_pages_have_flags_that_exist(page: Path, flags: ModuleType) -> None:
    from ghostfit import api
    from ghostfit.config import describe_flags

    for line in re.findall(r"^    (?:\S*/)?ghostfit (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE):
        verb, *words = line.split("#")[0].split()
        assert verb in VERBS, line
        rows = describe_flags(getattr(api, f"{verb.capitalize()}Config"))
        known = {"--json", "--csv", *(word for written, _ in rows for word in re.findall(r"--[\w-]+", written))}
        assert {word for word in words if word.startswith("--")} <= known, line

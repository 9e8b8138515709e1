"""The command line: what goes where, and what it exits with. A stand-in for `ghostfit.api` answers the verbs."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import ghostfit
from ghostfit.cli import VERBS, main
from ghostfit.config import add_flags, argument, dataclass, from_args, option
from ghostfit.event import Event, OnEvent

DOCS = Path(__file__).parents[1] / "docs"


@dataclass(frozen=True, kw_only=True)
class PredictConfig:
    """A stand-in's settings."""

    model: str = argument("bundle")
    images: tuple[str, ...] = argument("images")
    threads: int = option(1, "threads")

    def __post_init__(self) -> None:
        if self.threads < 1:
            raise ValueError(f"threads={self.threads}; give 1 or more")


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a stand-in answers."""

    values: Mapping[str, Any] = field(default_factory=dict)
    text: str = "a table"
    has_failed: bool = False
    is_stopped: bool = False

    def to_dict(self) -> dict[str, Any]:
        return dict(self.values)

    def to_text(self) -> str:
        return self.text

    def to_csv(self) -> str:
        return "path,label\n"


def stand_in(answer: Callable[[PredictConfig, OnEvent], Result]) -> Any:
    def predict(config: PredictConfig, *, on_event: OnEvent) -> Result:
        return answer(config, on_event)

    return SimpleNamespace(PredictConfig=PredictConfig, predict=predict)


def run(answer: Callable[[PredictConfig, OnEvent], Result], *words: str) -> int:
    return main(["predict", "m.ghost", "a.jpg", "b.jpg", *words], api=stand_in(answer))


def raising(error: BaseException) -> Callable[[PredictConfig, OnEvent], Result]:
    def answer(config: PredictConfig, on_event: OnEvent) -> Result:
        raise error

    return answer


def test_settings_reach_the_function(capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[PredictConfig] = []
    assert run(lambda config, _: seen.append(config) or Result(), "--threads", "2") == 0
    assert seen == [PredictConfig(model="m.ghost", images=("a.jpg", "b.jpg"), threads=2)]
    assert capsys.readouterr().out == "a table\n"


def test_json_is_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    values = {"accuracy": np.float32(0.5), "top": np.arange(2), "path": Path("x"), "name": "żółw"}
    assert run(lambda *_: Result(values=values), "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"accuracy": 0.5, "top": [0, 1], "path": "x", "name": "żółw"}


def test_csv(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(lambda *_: Result(), "--csv") == 0
    assert capsys.readouterr().out == "path,label\n"


def test_one_form_at_a_time(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(lambda *_: Result(), "--csv", "--json") == 2
    assert "not allowed with" in capsys.readouterr().err


def test_the_log_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    def answer(config: PredictConfig, on_event: OnEvent) -> Result:
        on_event(Event("read", "start", "2 images"))
        on_event(Event("read", "note", "b.jpg is truncated"))
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("one class is rare", stacklevel=1)
        on_event(Event("read", "done"))
        return Result()

    assert run(answer) == 0
    captured = capsys.readouterr()
    assert captured.out == "a table\n"
    assert captured.err.splitlines() == [
        "read: 2 images",
        "read: b.jpg is truncated",
        "ghostfit: warning: one class is rare",
        "read: done in 0 s",
    ]


@pytest.mark.parametrize(
    ("result", "status"),
    [(Result(), 0), (Result(has_failed=True), 1), (Result(is_stopped=True), 130)],
    ids=["done", "check failed", "stopped"],
)
def test_status_of_a_result(result: Result, status: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(lambda *_: result) == status
    assert capsys.readouterr().out == "a table\n"


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (ValueError("m.ghost is no bundle"), 2, "ghostfit: m.ghost is no bundle\n"),
        (FileNotFoundError(2, "No such file or directory", "m.ghost"), 2, "No such file or directory: 'm.ghost'\n"),
        (OSError(28, "No space left on device"), 2, "No space left on device\n"),
        (ModuleNotFoundError("No module named 'torch'", name="torch"), 2, "pip install 'ghostfit[train]'\n"),
        (KeyboardInterrupt(), 130, "ghostfit: stopped\n"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_errors_of_users_are_one_line(
    error: BaseException, status: int, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(raising(error)) == status
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.endswith(text)
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize("error", [KeyError("gone"), ModuleNotFoundError("No module named 'ghost'", name="ghost")])
def test_a_defect_shows_where_it_is(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(raising(error)) == 70
    assert "Traceback" in capsys.readouterr().err


def test_a_traceback_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(raising(ValueError("no bundle")), "--traceback") == 2
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["predict"],
        ["predict", "m.ghost"],
        ["predict", "m.ghost", "a.jpg", "--thread", "2"],
        ["predict", "m.ghost", "a.jpg", "--threads", "two"],
        ["predict", "m.ghost", "a.jpg", "--threads", "0"],
        ["predikt"],
        ["--nonsense"],
        [],
    ],
    ids=" ".join,
)
def test_bad_input(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words, api=stand_in(lambda *_: Result())) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"ghostfit {ghostfit.__version__}\n"


def test_help_lists_the_verbs_without_loading_the_api(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"], api=SimpleNamespace()) == 0
    text = " ".join(capsys.readouterr().out.split())
    for name, verb in VERBS.items():
        assert f"{name} {verb.sentence}" in text


def test_text_that_the_terminal_lacks_is_escaped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with (tmp_path / "out").open("w", encoding="ascii") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        assert run(lambda *_: Result(text="żółw\udcff.jpg")) == 0
    assert (tmp_path / "out").read_text() == "\\u017c\\xf3\\u0142w\\udcff.jpg\n"


# The real API: what holds for each verb.


@pytest.fixture(params=list(VERBS))
def verb(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def config_of(verb: str) -> type:
    import ghostfit.api

    assert callable(getattr(ghostfit.api, verb))
    return getattr(ghostfit.api, f"{verb.capitalize()}Config")  # type: ignore[no-any-return]


def test_a_verb_has_one_sentence_and_a_page(verb: str) -> None:
    assert VERBS[verb].sentence.endswith(".")
    assert len(VERBS[verb].sentence) <= 100
    page = (DOCS / "commands" / f"{verb}.md").read_text(encoding="utf-8")
    assert page.startswith(f"# ghostfit {verb}\n")
    assert VERBS[verb].sentence in page


def test_the_example_of_a_verb_is_valid(verb: str) -> None:
    program, name, *words = VERBS[verb].example.split(" > ")[0].split()
    assert (program, name) == ("ghostfit", verb)
    parser = argparse.ArgumentParser(exit_on_error=False)
    config = config_of(verb)
    add_flags(parser, config)
    from_args(config, parser.parse_args([word for word in words if word not in ("--json", "--csv")]))


def test_help_of_a_verb(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    config_of(verb)
    assert main([verb, "--help"]) == 0
    text = capsys.readouterr().out
    assert VERBS[verb].example in text
    assert "--json" in text


# The process: signals and pipes.

NEEDS_POSIX = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
SLOW_VERB = """
import sys, time
from types import SimpleNamespace
sys.path.insert(0, {tests!r})
from test_cli import PredictConfig, Result, stand_in
from ghostfit.cli import main
from ghostfit.event import Event

def answer(config, on_event):
    {body}

sys.exit(main(["predict", "m", "a"], api=stand_in(answer)))
"""


def start(body: str) -> subprocess.Popen[str]:
    code = SLOW_VERB.format(tests=str(Path(__file__).parent), body=body)
    # A background job of a shell ignores Ctrl-C, and so would its child.
    code = f"import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n{code}"
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe, stderr=pipe, text=True)


@NEEDS_POSIX
def test_ctrl_c_ends_without_a_traceback() -> None:
    with start("on_event(Event('x', 'start', 'begun')); time.sleep(60)") as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "x: begun\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "ghostfit: stopped\n")


@NEEDS_POSIX
def test_a_reader_that_goes_away_is_no_error() -> None:
    with start("sys.stdin.readline(); return Result(text='a line')") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        process.stdin.write("go on\n")
        process.stdin.close()
        assert process.stderr.read() == ""
    assert process.returncode == 141


def test_the_module_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "ghostfit", "--version"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, f"ghostfit {ghostfit.__version__}\n")

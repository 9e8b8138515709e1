"""The command `ghostfit`: parse, call `ghostfit.api`, print.

Each verb is a row of `VERBS`, a function of `ghostfit.api` of the same name, and a configuration that makes its flags.
Results go to stdout, everything else to stderr. Exit status: 0 done; 1 a check failed; 2 bad input; 70 a defect of
ghostfit; 130 stopped by Ctrl-C or a polite kill, after a clean end; 141 the reader of the output went away.

>>> main(["--version"]) == 0
ghostfit ...
True
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ghostfit
from ghostfit.config import add_flags, from_args
from ghostfit.extras import explain_missing
from ghostfit.progress import show_progress
from ghostfit.run import plain

DONE, CHECK_FAILED, BAD_INPUT = 0, 1, 2
DEFECT = 70  # EX_SOFTWARE of BSD's sysexits.h
STOPPED, READER_GONE = 130, 141  # as shells tell SIGINT and SIGPIPE: 128 + number


@dataclass(frozen=True)
class Verb:
    """One verb of the command line. `api` has its function, and its configuration ``<Verb>Config``."""

    sentence: str
    example: str
    has_csv: bool = False  # the result has `to_csv()`


VERBS: Mapping[str, Verb] = {
    "fit": Verb(
        "Search, train, export and measure the best network for labelled images within limits.",
        "ghostfit fit flowers/ --latency-ms 3 --time 30m",
    ),
    "search": Verb(
        "Search for networks within limits, and stop before the final training.",
        "ghostfit search flowers/ --latency-ms 3 --time 15m --out runs/search",
    ),
    "train": Verb(
        "Train one network: a preset, an architecture file, or the one a search chose.",
        "ghostfit train flowers/ --arch mobilenetv4_conv_small --time 10m",
    ),
    "evaluate": Verb(
        "Score an exported model on labelled images, with the runtime it will run in.",
        "ghostfit evaluate runs/flowers/model.ghost flowers/test",
    ),
    "export": Verb(
        "Write the network of a run as a bundle whose outputs are certified equal to the trained ones.",
        "ghostfit export runs/flowers --out model.ghost",
    ),
    "predict": Verb(
        "Tell what images show with an exported model, draw it, and write it for other tools.",
        "ghostfit predict runs/flowers/model.ghost photos/ --csv > labels.csv",
        has_csv=True,
    ),
    "bench": Verb(
        "Measure the latency of bundles and presets on this machine, one after the other in turns.",
        "ghostfit bench runs/flowers/model.ghost ghostnet_100 mobilenetv3_small_100 --threads 1",
        has_csv=True,
    ),
    "check": Verb(
        "Look for what is wrong with labelled images before they cost you a training.",
        "ghostfit check flowers/",
    ),
    "convert": Verb(
        "Write labelled objects or pixels in another layout: COCO, YOLO, VOC or masks.",
        "ghostfit convert cells/ cells-coco/ --to coco",
    ),
    "models": Verb(
        "List the presets: every network that a training or search can start from.",
        "ghostfit models --json",
        has_csv=True,
    ),
    "report": Verb(
        "Write the report of a run as one HTML file.",
        "ghostfit report runs/flowers --out report.html",
    ),
}


def main(argv: Sequence[str] | None = None, *, api: Any = None) -> int:
    """Run one command line (that of the process if `argv` is None) and return its exit status.

    `api` stands in for the module `ghostfit.api`, which is loaded when a verb needs it.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    name = words[0] if words and words[0] in VERBS else None
    with _warnings_as_lines():
        try:
            if name is None:
                return _answer_without_verb(words)
            return _run_verb(name, words, importlib.import_module("ghostfit.api") if api is None else api)
        except SystemExit as end:  # argparse has printed help or its complaint
            return end.code if isinstance(end.code, int) else BAD_INPUT
        except KeyboardInterrupt:
            return _fail("stopped", STOPPED)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that the flush at exit is silent
            return READER_GONE
        except Exception as error:  # noqa: BLE001 - the last place that can name it; its traceback is printed
            return _explain(error, with_traceback="--traceback" in words)


def _run_verb(name: str, words: Sequence[str], api: Any) -> int:
    config, function = getattr(api, f"{name.capitalize()}Config"), getattr(api, name)
    args = _parser(name, config).parse_args(words)
    settings = from_args(config, args)
    with show_progress() as on_event:
        result = function(settings, on_event=on_event)
    _print(_rendered(result, args))
    if getattr(result, "is_stopped", False):
        return STOPPED
    return CHECK_FAILED if getattr(result, "has_failed", False) else DONE


def _answer_without_verb(words: Sequence[str]) -> int:
    parser = _parser(None, None)
    if not words:
        parser.print_help(sys.stderr)
        return BAD_INPUT
    parser.parse_args(words)
    return BAD_INPUT  # not reached: no verb is a complaint of argparse


def _parser(name: str | None, config: type | None) -> argparse.ArgumentParser:
    """The parser; only the verb `name` gets its flags."""
    parser = argparse.ArgumentParser(
        prog="ghostfit",
        description="Labelled images and a device go in; the smallest, fastest network that does the job comes out.",
        epilog=f"example:\n  {VERBS['fit'].example}\n\nFlags of a verb: ghostfit VERB --help",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"ghostfit {ghostfit.__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", title="verbs", required=True)
    for each, verb in VERBS.items():
        child = verbs.add_parser(
            each,
            help=verb.sentence,
            description=verb.sentence,
            epilog=f"example:\n  {verb.example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        if each == name and config is not None:
            _add_verb_flags(child, verb, config)
    return parser


def _add_verb_flags(parser: argparse.ArgumentParser, verb: Verb, config: type) -> None:
    add_flags(parser, config)
    places = [action for action in parser._actions if not action.option_strings]
    words = (f"{action.metavar} ..." if action.nargs in ("+", "*") else str(action.metavar) for action in places)
    parser.usage = " ".join([parser.prog, *words, "[flags]"])
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", dest="form", action="store_const", const="json", help="print the result as JSON")
    if verb.has_csv:
        form.add_argument("--csv", dest="form", action="store_const", const="csv", help="print the result as CSV")
    parser.add_argument("--traceback", action="store_true", help="show where in the program an error arose")


def _rendered(result: Any, args: argparse.Namespace) -> str:
    if args.form == "json":
        return json.dumps(result.to_dict(), indent=1, default=plain)
    return str(result.to_csv() if args.form == "csv" else result.to_text())


def _print(text: str) -> None:
    """Write to stdout; what its encoding lacks is written as escapes."""
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding).rstrip("\n") + "\n")
    sys.stdout.flush()


def _explain(error: Exception, *, with_traceback: bool) -> int:
    missing = explain_missing(error) if isinstance(error, ImportError) else None
    is_input = missing is not None or isinstance(error, (ValueError, OSError))
    if with_traceback or not is_input:
        traceback.print_exception(error)
    if is_input:
        return _fail(missing or str(error) or type(error).__name__, BAD_INPUT)
    return _fail("this is a defect of ghostfit, not of your input; please report it with the lines above", DEFECT)


def _fail(text: str, status: int) -> int:
    print(f"ghostfit: {text}", file=sys.stderr)
    return status


@contextmanager
def _warnings_as_lines() -> Iterator[None]:
    """Warnings without the place in the source, which tells a user nothing."""

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        print(f"ghostfit: warning: {message}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield

"""The top of the page: what was asked, what was found, and whether the search paid, before anything is explained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ghostfit import counting
from ghostfit.report.markup import Markup, join, tag
from ghostfit.report.read import RunData, as_dict
from ghostfit.report.sections.spent import NAMES, total_seconds
from ghostfit.report.units import NONE, count, duration, finite, milliseconds, percent, rounded, size, whole

STEPS = {  # phases of a finished run of each verb
    "fit": ("data", "supernet", "search", "train", "test", "export"),
    "search": ("data", "supernet", "search"),
}

LIMITS = {  # entries of limits.json, and how they are asked for
    "latency_ms": "ms an image",
    "size_mb": "MB on disk",
    "memory_mb": "MB of memory for feature maps",
    "macs_m": "M MACs",
    "params_m": "M parameters",
}


def headline(run: RunData) -> Markup:
    """Title, what was asked, notices, tiles with the result, and the sentence on the search."""
    sentence = run.paid.get("sentence")
    return tag(
        "div",
        tag(
            "header",
            tag("p", "ghostfit report", class_="kicker"),
            tag("h1", run.name),
            tag("p", _asked(run), class_="lead"),
        ),
        _notice(run),
        _tiles(run),
        tag("p", str(sentence), class_="verdict") if sentence else None,
        id="result",
    )


def _asked(run: RunData) -> str:
    """What the command asked for, as a sentence."""
    names = run.data.get("class_names")
    what = run.wording.asked.format(f"{len(names):,}" if isinstance(names, list) else "the")
    known = ((finite(run.limits.get(key)), words) for key, words in LIMITS.items())
    limits = [f"{rounded(value)} {words}" for value, words in known if value is not None]
    within = f" within {_listed(limits)}" if limits else ""
    device = as_dict(run.limits.get("device")) or as_dict(run.info.get("machine"))
    threads = finite(run.limits.get("threads"))
    where = [str(device["processor"])] if device.get("processor") else []
    where += [str(run.limits["runtime"])] if run.limits.get("runtime") else []
    where += [f"{threads:.0f} thread{'' if threads == 1 else 's'}"] if threads else []
    time_s = finite(as_dict(run.info.get("config")).get("time_s"))
    span = f" Time allowed: {duration(time_s)}." if time_s else ""
    return f"Asked: {what}{within}{', on ' + ', '.join(where) if where else ''}.{span}"


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]


def _notice(run: RunData) -> Markup | None:
    """What is not finished, and which files could not be read."""
    lines = []
    steps = STEPS.get(str(run.info.get("verb")), ())
    needs_none = run.limits.get("strategy") == "largest" or "search" in run.phases  # some searches need no supernet
    done = {*run.phases, "supernet"} if needs_none else run.phases
    left = [NAMES[phase] for phase in steps if phase not in done]
    if left:
        lines.append(f"This run is not finished. Still to come: {_listed(left)}. Go on with it by adding --resume.")
    lines += list(run.problems)
    return tag("div", *(tag("p", line) for line in lines), class_="notice", role="note") if lines else None


def _tiles(run: RunData) -> Markup:
    chosen, latency = run.chosen, measured_latency(run)
    counts = counting.count(run.arch) if run.arch else chosen
    macs, params = (counts.macs, counts.params) if counts else (None, None)
    num_bytes = _network_bytes(run)
    memory = chosen.memory_bytes if chosen else None
    total = total_seconds(run)
    tiles = [
        _judged(run),
        _tile(
            "Latency",
            milliseconds(latency.get("median_ms")),
            _measured(latency),
            _gauge(latency.get("median_ms"), run.limits.get("latency_ms"), "ms"),
        ),
        _known(
            "Size on disk",
            size(num_bytes),
            f"the network's file, in a bundle of {size(run.bundle_bytes)}" if run.bundle_bytes else "",
            _gauge(num_bytes, run.limits.get("size_mb"), "MB", 1e6),
        ),
        _tile(
            "MACs", count(macs), "multiply-accumulates for one image", _gauge(macs, run.limits.get("macs_m"), "M", 1e6)
        ),
        _known("Parameters", count(params), "", _gauge(params, run.limits.get("params_m"), "M", 1e6)),
    ]
    if finite(run.limits.get("memory_mb")) is not None:
        tiles.append(_memory(run.limits["memory_mb"], memory))
    if total:
        note = f"{whole(len(run.evaluations))} networks evaluated" if run.evaluations else ""
        tiles.append(_tile("Time spent", duration(total), note, None))
    return tag("dl", *tiles, class_="tiles")


def _network_bytes(run: RunData) -> float | None:
    """Size of the network's file, which is what the limit is on: the shipped one, else as the search measured it."""
    entry = as_dict(as_dict(run.manifest.get("files")).get(str(run.manifest.get("network"))))
    return finite(entry.get("bytes")) or (run.chosen.size_bytes if run.chosen else None)


def _judged(run: RunData) -> Markup:
    """The figure of the task on the test split; in a run that is not there yet, the best one it has."""
    wording = run.wording
    test, error = finite(run.test.get(wording.test_key)), finite(run.test.get("standard_error"))
    if test is not None:
        spread = tag("small", f" ± {100 * error:.1f}") if error is not None else None
        images = finite(run.test.get("num_images"))
        note = f"of {whole(images)} test images, read once" if images else "of the test split"
        note += "; ± one standard error" if error is not None else ""
        return _tile(f"Test {wording.metric}", join([percent(test), spread]), note, None, is_first=True)
    checks = [value for row in run.metrics.get("train", ()) if (value := finite(row.get(wording.val_key))) is not None]
    if checks:
        return _tile(
            f"Validation {wording.metric}",
            percent(max(checks)),
            "best so far; the test split is not read yet",
            None,
            is_first=True,
        )
    chosen = run.chosen.metric if run.chosen else None
    best = chosen or max((e.metric for e in run.evaluations if e.metric and e.is_feasible), default=None)
    note = "on the search split, with inherited weights" if best else "not measured yet"
    return _tile(wording.title, percent(best), note, None, is_first=True)


def measured_latency(run: RunData) -> Mapping[str, Any]:
    """The latency of the found network: of the bundle, else beside the presets, else as the search measured it."""
    rows = run.manifest.get("latency")
    if isinstance(rows, list) and rows and isinstance(rows[-1], dict) and finite(rows[-1].get("median_ms")) is not None:
        return as_dict(rows[-1])
    found = next((row for row in run.bench if row.get("name") in ("found", "chosen", "model")), None)
    if found is not None:
        return found
    if run.chosen is not None and run.chosen.latency_ms is not None:
        return {"median_ms": run.chosen.latency_ms, "p90_ms": run.chosen.latency_p90_ms}
    return {}


def _measured(latency: Mapping[str, Any]) -> str:
    if not latency:
        return "not measured yet"
    runs = finite(latency.get("num_runs"))
    threads = finite(latency.get("threads"))
    words = [
        f"median of {whole(runs)} runs" if runs else "median",
        f"p90 {milliseconds(latency.get('p90_ms'))}" if finite(latency.get("p90_ms")) else "",
        str(latency.get("runtime") or ""),
        f"{threads:.0f} thread{'' if threads == 1 else 's'}" if threads else "",
    ]
    return ", ".join(word for word in words if word)


def _tile(name: str, value: str, note: str, gauge: Markup | None, *, is_first: bool = False) -> Markup:
    return tag(
        "div",
        tag("dt", name),
        tag("dd", value),
        gauge,
        tag("p", note) if note else None,
        class_="tile first" if is_first else "tile",
    )


def _known(name: str, value: str, note: str, gauge: Markup | None) -> Markup | None:
    """A tile, or none where there is no figure yet."""
    return None if value == NONE else _tile(name, value, note, gauge)


def _memory(limit: Any, num_bytes: float | None) -> Markup:
    return _tile("Memory", size(num_bytes), "feature maps at their peak", _gauge(num_bytes, limit, "MB", 1e6))


def _gauge(value: Any, limit: Any, unit: str, scale: float = 1.0) -> Markup | None:
    """How much of a limit is used, as a bar and in words; the limit is given in `scale` times the value's unit."""
    used, allowed = finite(value), finite(limit)
    if used is None or not allowed or allowed < 0:
        return None
    used /= scale
    is_over = used > allowed
    bar = tag("i", style=f"width:{min(100 * used / allowed, 100):.1f}%")
    verdict = tag("span", "over" if is_over else "within", class_="broken" if is_over else "kept")
    words = tag("p", verdict, f" the limit of {rounded(allowed)} {unit}")
    return join([tag("span", bar, class_="gauge over" if is_over else "gauge"), words])

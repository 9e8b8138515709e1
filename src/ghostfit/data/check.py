"""Check a labelled image set before anything is trained on it: damage, doubtful labels, copies, balance.

>>> from ghostfit.data.readers import read_dataset
>>> report = check(read_dataset("digits"), in_memory=True)
>>> [finding.id for finding in report.findings], report.is_ok
(['GF301'], True)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghostfit.data.cache import Progress
from ghostfit.data.dataset import SPLIT_NAMES, Dataset, Splits
from ghostfit.data.duplicates import find_identical, join_pairs, spread
from ghostfit.data.fact_table import EMPTY, MISSING, OK, TRUNCATED, UNREADABLE, ImageFacts
from ghostfit.data.facts import measure_images
from ghostfit.data.findings import Finding, Severity, make_finding
from ghostfit.data.label_check import LabelSummary, find_in_labels, find_passed_over, summarise
from ghostfit.data.labels import LabelFacts, measure_labels

DAMAGE = {"GF101": UNREADABLE, "GF102": TRUNCATED, "GF103": EMPTY, "GF104": MISSING}
TINY_PIXELS = 16
FEW_IMAGES = 20
UNBALANCED = 10.0  # largest class to smallest
ODD_SHAPE = 2.0  # ratio of width to height, to the median
BLANK = 1.0  # standard deviation of the thumbnail, of 255
CLUE_GAIN = 0.25  # accuracy above chance from the file's form alone that counts as a clue
CLUE_IMAGES = 10  # images of one form that tell something
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")

Groups = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class CheckReport:
    """What a check found, worst first, with the numbers of the data set.

    `class_counts` are images, in a dense task those in which the class occurs; `labels` has its other numbers.
    """

    name: str
    root: str
    num_images: int
    num_usable: int
    class_counts: Mapping[str, int]
    split_counts: Mapping[str, int]
    sizes: tuple[tuple[str, int], ...]  # WIDTHxHEIGHT and number of images, most frequent first
    findings: tuple[Finding, ...]
    task: str = "classify"
    labels: LabelSummary | None = None

    @property
    def is_ok(self) -> bool:
        """Whether there is no error; warnings may be there."""
        return not any(finding.severity == "error" for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready dict; long lists are cut, counts are not."""
        return {
            "name": self.name,
            "root": self.root,
            "task": self.task,
            "is_ok": self.is_ok,
            "num_images": self.num_images,
            "num_usable": self.num_usable,
            "class_counts": dict(self.class_counts),
            "split_counts": dict(self.split_counts),
            "sizes": [{"size_wh": size, "count": count} for size, count in self.sizes[:50]],
            **({"labels": self.labels.to_dict()} if self.labels else {}),
            "findings": [finding.to_dict() for finding in self.findings],
        }

    def to_text(self, max_items: int = 5) -> str:
        """For a terminal: numbers, class balance, then each finding with what it means and what to do."""
        lines = [f"{self.name}: {self.num_images} images, {self.num_usable} usable, {len(self.class_counts)} classes"]
        if set(self.split_counts) != {"all"}:
            lines.append("splits: " + ", ".join(f"{name} {count}" for name, count in self.split_counts.items()))
        lines.append(
            "sizes:  " + ", ".join(f"{size} ({count})" for size, count in self.sizes[:4]) + _more(self.sizes, 4)
        )
        lines += self.labels.to_lines() if self.labels else []
        lines += ["", *(_label_lines(self.labels) if self.labels else _balance_lines(self.class_counts)), ""]
        for finding in self.findings:
            lines.append(
                f"{finding.id} {finding.severity}: {finding.title}: {finding.count}. {finding.detail}".rstrip()
            )
            lines.append(f"      {finding.meaning}")
            lines.append(f"      To do: {finding.remedy}")
            shown: Sequence[str] = [" = ".join(group) for group in finding.groups] or finding.items
            lines += [f"        {item}" for item in shown[:max_items]]
            lines += [f"        {_more(shown, max_items).strip(', ')}"] if len(shown) > max_items else []
        counts = Counter(finding.severity for finding in self.findings)
        lines.append(", ".join(f"{counts[name]} {name}{'s' * (counts[name] != 1)}" for name in SEVERITIES))
        return "\n".join(lines)


def check(
    dataset: Dataset,
    *,
    facts: ImageFacts | None = None,
    labels: LabelFacts | None = None,
    splits: Splits | None = None,
    size_hw: tuple[int, int] | None = None,
    cache_dir: str | Path | None = None,
    in_memory: bool | None = None,
    num_threads: int | None = None,
    progress: Progress | None = None,
) -> CheckReport:
    """Look at every image and label of `dataset`. Nothing is changed; a broken image is a finding, never an error.

    `facts` are those of `measure_images`, taken now if not given; so are `labels` of a dense task, those of
    `measure_labels`. `splits` are looked at in place of those that the data gives. `size_hw` is the network's input, if
    it is known.
    """
    facts = facts or measure_images(
        dataset, cache_dir=cache_dir, in_memory=in_memory, num_threads=num_threads, progress=progress
    )
    split_of = splits.to_dict() if splits else dataset.given
    given = {name: tuple(split_of[name]) for name in ("all", *SPLIT_NAMES) if name in split_of}
    is_dense = dataset.task != "classify"
    if is_dense and labels is None:
        labels = measure_labels(dataset, num_threads=num_threads, progress=progress)
    findings = [
        *_find_damage(dataset, facts),
        *_find_storage(dataset, facts),
        *_find_sizes(dataset, facts, size_hw),
        *([] if is_dense else _find_clues(dataset, facts)),
        *(find_in_labels(dataset, facts, labels, size_hw) if labels else []),
        *_find_classes(dataset, given, _occurrences(dataset, labels)),
        *_find_copies(dataset, facts, given),
    ]
    summary = summarise(labels, dataset.class_names) if labels else None
    findings.sort(key=lambda finding: (SEVERITIES.index(finding.severity), finding.id))
    usable = facts.table[facts.table["problem"] == OK]
    num_unlabelled = sum(bool(facts.table["problem"][index] == OK) for index in labels.reasons) if labels else 0
    sizes = Counter(f"{width}x{height}" for width, height in zip(usable["width"], usable["height"], strict=True))
    return CheckReport(
        name=dataset.name,
        root=dataset.root,
        num_images=len(dataset),
        num_usable=len(usable) - num_unlabelled,
        class_counts=summary.image_counts if summary else dataset.class_counts,
        split_counts={name: len(indices) for name, indices in given.items()},
        sizes=tuple(sizes.most_common()),
        findings=tuple(findings),
        task=dataset.task,
        labels=summary,
    )


def _find_damage(dataset: Dataset, facts: ImageFacts) -> Iterator[Finding]:
    for id, problem in DAMAGE.items():
        broken = np.flatnonzero(facts.table["problem"] == problem).tolist()
        if broken:
            first = f"{dataset.samples[broken[0]].id}: {facts.reasons[broken[0]]}"
            yield make_finding(id, _ids(dataset, broken), f"Such as {first}.")
    yield from find_passed_over(dataset.skipped)


def _find_storage(dataset: Dataset, facts: ImageFacts) -> Iterator[Finding]:
    table = facts.table
    is_ok = table["problem"] == OK
    is_gray = np.char.startswith(table["mode"], "L") | np.char.startswith(table["mode"], "I") | (table["mode"] == "1")
    tests = {
        "GF201": table["orientation"] != 1,
        "GF202": is_gray & bool((is_ok & ~is_gray).any()),
        "GF203": table["mode"] == "CMYK",
        "GF204": table["is_16_bit"],
        "GF205": table["has_alpha"],
        "GF206": table["is_animated"],
    }
    for id, is_found in tests.items():
        indices = np.flatnonzero(is_ok & is_found).tolist()
        if indices:
            if dataset.task != "classify":
                yield make_finding(id, _ids(dataset, indices))
                continue
            by_class = Counter(dataset.class_names[dataset.labels[index]] for index in indices).most_common(3)
            detail = "In " + ", ".join(f"{name} ({count})" for name, count in by_class) + "."
            yield make_finding(id, _ids(dataset, indices), detail)


def _find_sizes(dataset: Dataset, facts: ImageFacts, size_hw: tuple[int, int] | None) -> Iterator[Finding]:
    table = facts.table
    is_ok = table["problem"] == OK
    if not is_ok.any():
        return
    height, width = table["height"].astype(np.int64), table["width"].astype(np.int64)
    least = (size_hw[0] / 2, size_hw[1] / 2) if size_hw else (TINY_PIXELS, TINY_PIXELS)
    tiny = np.flatnonzero(is_ok & ((height < least[0]) | (width < least[1]))).tolist()
    if tiny:
        yield make_finding("GF301", _ids(dataset, tiny), f"Smaller than {least[1]:g}x{least[0]:g}.")
    ratio = width / np.maximum(1, height)
    usual = float(np.median(ratio[is_ok]))
    odd = np.flatnonzero(is_ok & (np.maximum(ratio / usual, usual / np.maximum(ratio, 1e-9)) >= ODD_SHAPE)).tolist()
    if odd:
        yield make_finding("GF302", _ids(dataset, odd), f"The usual width is {usual:.2f} of the height.")
    blank = np.flatnonzero(is_ok & (spread(table) < BLANK)).tolist()
    if blank:
        yield make_finding("GF303", _ids(dataset, blank))


def _find_clues(dataset: Dataset, facts: ImageFacts) -> Iterator[Finding]:
    """Whether the form of a file alone predicts its class: the majority class of each form, against that of all."""
    rows = np.flatnonzero(facts.table["problem"] == OK)
    if not len(rows):
        return
    labels, table = dataset.labels[rows], facts.table[rows]
    forms = {
        "file format": [f"{name} {mode}" for name, mode in zip(table["format"], table["mode"], strict=True)],
        "image size": [f"{width}x{height}" for width, height in zip(table["width"], table["height"], strict=True)],
    }
    chance = float(np.bincount(labels).max() / len(labels))
    for what, values in forms.items():
        counts: dict[str, Counter[int]] = {}
        for value, label in zip(values, labels.tolist(), strict=True):
            counts.setdefault(value, Counter())[label] += 1
        telling = [count.most_common(1)[0][1] for count in counts.values() if count.total() >= CLUE_IMAGES]
        covered = sum(count.total() for count in counts.values() if count.total() >= CLUE_IMAGES)
        accuracy = (sum(telling) + chance * (len(labels) - covered)) / len(labels)
        if accuracy - chance >= CLUE_GAIN:
            yield make_finding(
                "GF304", (what,), f"By {what} alone {accuracy:.0%} are told right; the largest class has {chance:.0%}."
            )


def _find_classes(dataset: Dataset, given: Groups, is_present: NDArray[np.bool_]) -> Iterator[Finding]:
    """Of `is_present` (N, C), whether a class occurs in an image."""
    counts = dict(zip(dataset.class_names, is_present.sum(axis=0).tolist(), strict=True))
    largest, smallest = max(counts, key=lambda name: counts[name]), min(counts, key=lambda name: counts[name])
    if counts[largest] >= UNBALANCED * max(1, counts[smallest]):
        detail = f"{largest} has {counts[largest]} images, {smallest} {counts[smallest]}."
        yield make_finding("GF401", (largest, smallest), detail, count=1)
    few = tuple(name for name, count in counts.items() if count < FEW_IMAGES)
    if few:
        yield make_finding("GF402", few, ", ".join(f"{name} has {counts[name]}" for name in few[:5]) + ".")
    for split, indices in given.items():
        counts_here = is_present[list(indices)].sum(axis=0)
        absent = tuple(name for number, name in enumerate(dataset.class_names) if not counts_here[number])
        if absent and indices:
            yield make_finding("GF403" if split == "train" else "GF404", absent, f"Absent from {split}.")
    written: dict[str, list[str]] = {}
    for name in dataset.class_names:
        written.setdefault("".join(character for character in name.casefold() if character not in " -_"), []).append(
            name
        )
    alike = tuple(tuple(names) for names in written.values() if len(names) > 1)
    if alike:
        yield make_finding("GF405", tuple(name for names in alike for name in names), groups=alike)


def _occurrences(dataset: Dataset, labels: LabelFacts | None) -> NDArray[np.bool_]:
    """(N, C): whether a class occurs in an image."""
    return labels.is_present if labels else dataset.labels[:, None] == np.arange(len(dataset.class_names))


def _find_copies(dataset: Dataset, facts: ImageFacts, given: Groups) -> Iterator[Finding]:
    side = np.full(len(dataset), -1)
    for number, indices in enumerate(given.values()):
        side[list(indices)] = number
    names = list(given)
    identical, near_pairs = find_identical(facts.table), list(facts.near)
    near = join_pairs(near_pairs)
    differing = [group for group in identical if len({_label_key(dataset, index) for index in group}) > 1]  # GF505
    agreeing = [group for group in identical if group not in differing]
    chosen: dict[str, list[tuple[int, ...]]] = {
        "GF501": [group for group in agreeing if len(set(side[list(group)])) < len(group)],
        "GF502": [group for group in identical if len(set(side[list(group)])) > 1],
        "GF503": [group for group in near if len(set(side[list(group)])) < len(group)],
        "GF504": [group for group in near if len(set(side[list(group)])) > 1],
        "GF505": differing,
        "GF506": [pair for pair in near_pairs if dataset.labels[pair[0]] != dataset.labels[pair[1]]],
    }
    for id, groups in chosen.items():
        if groups:
            items = tuple(dict.fromkeys(index for group in groups for index in group))
            yield make_finding(
                id,
                _ids(dataset, items),
                _copies_detail(id, groups, side, names),
                tuple(_ids(dataset, group) for group in groups),
            )


def _label_key(dataset: Dataset, index: int) -> str:
    """Equal for equal labels."""
    target = dataset.samples[index].target
    return target.stamp() if target is not None else str(dataset.labels[index])


def _copies_detail(id: str, groups: Sequence[tuple[int, ...]], side: NDArray[np.int64], names: Sequence[str]) -> str:
    num_images = len({index for group in groups for index in group})
    text = f"{num_images} images in {len(groups)} group{'s' * (len(groups) != 1)}."
    if id in ("GF502", "GF504"):
        between = Counter(" and ".join(names[number] for number in sorted(set(side[list(group)]))) for group in groups)
        text += " Between " + "; ".join(f"{what}: {count}" for what, count in between.most_common()) + "."
    return text


def _ids(dataset: Dataset, indices: Sequence[int]) -> tuple[str, ...]:
    return tuple(dataset.samples[index].id for index in indices)


def _label_lines(labels: LabelSummary) -> list[str]:
    """A bar for each class, by pixels or by objects, with the images in which it occurs."""
    values: Mapping[str, float] = labels.pixel_shares or labels.object_counts
    texts = {name: f"{value:>8.2%}" if labels.pixel_shares else f"{value:>7} objects" for name, value in values.items()}
    return _balance_lines(
        values, {name: f"{text} in {labels.image_counts[name]:>6} images" for name, text in texts.items()}
    )


def _balance_lines(
    counts: Mapping[str, float], texts: Mapping[str, str] | None = None, width: int = 40, most: int = 30
) -> list[str]:
    """A bar for each class, behind its count or text; of many classes the largest and the smallest."""
    names = sorted(counts, key=lambda name: -counts[name])
    if len(names) > most:
        names = [*names[: most // 2], *names[-most // 2 :]]
    column = max(len(name) for name in names)
    top = max(counts.values()) or 1
    texts = texts or {name: f"{count:>7}" for name, count in counts.items()}
    bars = {name: "#" * max(1, round(width * counts[name] / top)) for name in names}
    lines = [f"{name:<{column}}  {texts[name]}  {bar}" for name, bar in bars.items()]
    return (
        lines if len(names) == len(counts) else [*lines, f"({len(counts) - len(names)} classes between are not shown)"]
    )


def _more(values: Sequence[Any], shown: int) -> str:
    return f", and {len(values) - shown} more" if len(values) > shown else ""

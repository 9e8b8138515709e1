"""Who learns from what: stratified, seeded splits that keep identical images on one side.

>>> from ghostfit.data.readers import read_dataset
>>> make_splits(read_dataset("digits"), seed=0).counts()
{'train': 1170, 'val': 179, 'search': 179, 'test': 269}
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ghostfit.data.dataset import SPLIT_NAMES, Dataset, Sample, Splits
from ghostfit.data.parallel import map_samples


def make_splits(
    dataset: Dataset,
    *,
    seed: int,
    val: float = 0.1,
    search: float = 0.1,
    test: float = 0.15,
    groups: Sequence[int] | None = None,
    exclude: Collection[int] = (),
) -> Splits:
    """Divide the samples; shares are of all images that may be divided, class by class, in a dense task by the rarest
    class that an image shows.

    A validation or test split that the data gives is kept as it is, and the others are taken from its training
    images. `groups` (N,) numbers the samples, equal numbers stay on one side; by default files with identical bytes.
    `exclude` are samples left out, such as those that can't be decoded. Every class keeps at least one image in
    train, then one in test, val and search as far as its images reach. Raises ValueError on shares that leave nothing
    to learn from, or when a split would be empty.
    """
    shares = {"test": test, "val": val, "search": search}
    wrong = [f"{name}={share}" for name, share in shares.items() if not 0 <= share < 1]
    if wrong or sum(shares.values()) >= 0.9:
        raise ValueError(f"{', '.join(wrong) or shares}: shares lie in 0..1 and must leave a tenth or more to train on")
    if groups is not None and len(groups) != len(dataset):
        raise ValueError(f"{len(groups)} groups for {len(dataset)} samples; give one number a sample")
    given = {name: [i for i in indices if i not in exclude] for name, indices in dataset.given.items()}
    parts: dict[str, list[int]] = {name: list(given.get(name, ())) for name in ("val", "test")}
    pool = [*given.get("all", ()), *given.get("train", ())]
    wanted = {name: share for name, share in shares.items() if name not in given and share > 0}
    parts |= _divide(dataset, pool, wanted, groups if groups is not None else group_identical_files(dataset), seed)
    for name in ("train", *(name for name, share in shares.items() if share > 0)):
        if not parts[name]:
            raise ValueError(
                f"no image left for the {name} split: {len(pool)} images of {len(dataset.class_names)} classes; "
                "four or more a class are needed, or a folder for each split"
            )
    kept = ", ".join(name for name in ("val", "test") if name in given)
    notes = (f"{kept} as the data gives it",) if kept else ()
    return Splits(**{name: tuple(sorted(parts.get(name, ()))) for name in SPLIT_NAMES}, seed=seed, notes=notes)


def group_identical_files(dataset: Dataset) -> list[int]:
    """A number for each sample, equal for equal bytes. Only files of one size are read; one that can't be read is
    alone.

    Images that are equal but stored differently are found by `ghostfit.data.duplicates`, from decoded images.
    """
    same_size: dict[int, list[int]] = {}
    for index, sample in enumerate(dataset.samples):
        same_size.setdefault(sample.num_bytes, []).append(index)
    groups = list(range(len(dataset)))
    first_of: dict[bytes, int] = {}
    for indices in same_size.values():
        if len(indices) == 1:
            continue
        for index in indices:
            if key := _hash(dataset.samples[index]):
                groups[index] = first_of.setdefault(key, index)
    return groups


def _divide(
    dataset: Dataset, pool: Sequence[int], shares: Mapping[str, float], groups: Sequence[int], seed: int
) -> dict[str, list[int]]:
    """Deal the groups of each class, largest first, to the split that lacks most; ties and equals in random order."""
    rng = np.random.default_rng(seed)
    is_classified = dataset.task == "classify"
    strata = dataset.labels if is_classified or not shares else _rarest_classes(dataset)
    members: dict[int, list[int]] = {}
    for index in pool:
        members.setdefault(groups[index], []).append(index)
    of_class: dict[int, list[list[int]]] = {}
    for group in members.values():
        of_class.setdefault(int(strata[group[0]] if is_classified else strata[group].min()), []).append(group)
    parts: dict[str, list[int]] = {name: [] for name in ("train", *shares)}
    for label in sorted(of_class):
        dealt = [of_class[label][i] for i in rng.permutation(len(of_class[label]))]
        dealt.sort(key=len, reverse=True)
        lacks = _wanted_counts(sum(map(len, dealt)), len(dealt), shares)
        for group in dealt:
            name = max(lacks, key=lambda split: lacks[split])
            parts[name] += group
            lacks[name] -= len(group)
    return parts


def _rarest_classes(dataset: Dataset) -> NDArray[np.int64]:
    """(N,) for each image the class in it that the fewest images show, numbered from the rarest on; the last number for
    images that show none, or whose label can't be read."""
    present = list(map_samples(_classes_in, dataset.samples))
    counts = np.bincount([number for classes in present for number in classes], minlength=len(dataset.class_names))
    rank = {int(number): place for place, number in enumerate(np.argsort(counts, kind="stable"))}
    ranks = (min((rank[number] for number in classes), default=len(rank)) for classes in present)
    return np.fromiter(ranks, np.int64, len(present))


def _classes_in(sample: Sample) -> set[int]:
    try:
        return set(sample.target.class_ids().tolist()) if sample.target else set()
    except (ValueError, OSError):
        return set()


def _wanted_counts(num_images: int, num_groups: int, shares: Mapping[str, float]) -> dict[str, int]:
    """Images of one class in each split: at least one in train, then in the others as far as groups reach."""
    counts = {"train": num_images}
    for number, (name, share) in enumerate(shares.items(), start=1):
        count = max(1, round(share * num_images)) if number < num_groups else 0
        counts[name] = min(count, counts["train"] - 1)
        counts["train"] -= counts[name]
    return counts


def _hash(sample: Sample) -> bytes:
    """Hash of the bytes, or of the pixels of an array; empty when they can't be read."""
    try:
        content = sample.source.read()
    except (OSError, ValueError):
        return b""
    if isinstance(content, bytes):
        return hashlib.sha256(content).digest()
    return hashlib.sha256(repr(content.shape).encode() + content.tobytes()).digest()

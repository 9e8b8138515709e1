"""A search space is a value: genes, and for each the choices that are still open.

A point of the space is a dict from gene to choice; `Space.decode` makes it an `Arch`, `Space.encode` reads it back.
Choices are ordered from cheap to costly, so the smallest and the largest network are the first and the last choices.
Shrinking a space (`restrict`) gives a smaller one; weights shared in the larger one still fit.

Genes: ``size`` (input height in pixels), ``stem.out``, ``stem.stride``, ``head.conv``, ``head.hidden`` or, of a dense
task, ``dense.width``, ``.ratio``, ``.kernel``, ``.expand``, ``.head_depth``; for stage i
``s0.out``, ``s0.depth``, ``s0.stride``, ``s0.project_ratio``, for its block j ``s0.b1.mid``, ``.kernel``,
``.start_kernel``, ``.ratio``, ``.cheap_kernel``, ``.se``, ``.dfc``.

>>> from ghostfit.arch import Head, Stem
>>> start = Arch(stem=Stem(out=16), stages=(Stage(out=16, blocks=(Block(mid=32),)),), head=Head(conv=64))
>>> space = Space.around(start, widths=(0.5, 1.0))
>>> start in space, space.choices("s0.out")
(True, (8, 16))
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ghostfit.arch import Arch, Block, Dense, Stage, make_divisible

Point = dict[str, int]
SCHEMA = "ghostfit.space/1"


@dataclass(frozen=True)
class Space:
    """Genes with their open choices, around a `template` that fixes everything else (activations, shortcuts)."""

    template: Arch
    genes: tuple[tuple[str, tuple[int, ...]], ...]

    @classmethod
    def around(
        cls,
        start: Arch,
        *,
        widths: Sequence[float] = (0.5, 0.75, 1.0),
        expands: Sequence[float] = (0.5, 1.0),
        least_depth: int = 1,
        max_extra_depth: int = 0,
        kernels: Sequence[int] = (3, 5),
        ratios: Sequence[int] = (1, 2),
        cheap_kernels: Sequence[int] = (3,),
        se: bool = True,
        dfc: bool = False,
        sizes: Sequence[float] = (1.0,),
        stem_strides: Sequence[int] = (),
        align: int = 8,
    ) -> Space:
        """The space whose centre is `start`: `start` is always a point of it.

        `widths` and `expands` multiply the channels of each stage and the expanded channels of each block, rounded to
        multiples of `align`; `sizes` multiply the input size, rounded to multiples of 8 pixels. A stage keeps at least
        `least_depth` of its blocks. `se` and `dfc` open squeeze-and-excitation and the DFC gate for every block with an
        expansion.
        """
        if start.branches:
            raise ValueError("a space is made of deployed networks; pass arch.deployed()")
        _check_multipliers(widths=widths, expands=expands, sizes=sizes)
        genes: dict[str, set[int]] = {}
        height = start.size_hw[0]
        genes["size"] = {height} | {_round(height * size, 8) for size in sizes if size != 1.0}
        genes["stem.out"] = _multiples(start.stem.out, widths, align)
        genes["stem.stride"] = {start.stem.stride, *stem_strides}
        if start.dense is not None:
            if len(genes["stem.stride"]) > 1:
                raise ValueError(f"stem_strides={tuple(stem_strides)}: the levels of a dense network fix its strides")
            genes |= _dense_genes(start.dense, widths, kernels, ratios, align)
        if start.head.conv:
            genes["head.conv"] = _multiples(start.head.conv, widths, align)
        if start.head.hidden:
            genes["head.hidden"] = _multiples(start.head.hidden, widths, align)
        for i, stage in enumerate(start.stages):
            name = f"s{i}"
            genes[f"{name}.out"] = _multiples(stage.out, widths, align)
            most = len(stage.blocks)
            genes[f"{name}.depth"] = set(range(min(least_depth, most), most + max_extra_depth + 1))
            genes[f"{name}.stride"] = {stage.blocks[0].stride}
            genes[f"{name}.project_ratio"] = {stage.project_ratio, *ratios}
            for j in range(len(stage.blocks) + max_extra_depth):
                block = _block_of(stage, j)
                for gene, choices in _block_genes(
                    block, expands, kernels, ratios, cheap_kernels, se, dfc, align
                ).items():
                    genes[f"{name}.b{j}.{gene}"] = choices
        return cls(start, tuple((name, _cheap_first(name, choices)) for name, choices in genes.items()))

    @cached_property
    def by_name(self) -> Mapping[str, tuple[int, ...]]:
        """Choices of each gene."""
        return dict(self.genes)

    @cached_property
    def id(self) -> str:
        """12 hexadecimal digits of the SHA-256 of the canonical JSON."""
        text = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def choices(self, gene: str) -> tuple[int, ...]:
        """Open choices of `gene`, cheap ones first. Raises ValueError for an unknown gene."""
        if gene not in self.by_name:
            raise ValueError(f"unknown gene {gene!r}; allowed: {', '.join(self.by_name)}")
        return self.by_name[gene]

    def open_genes(self) -> tuple[str, ...]:
        """Genes that still have more than one choice."""
        return tuple(name for name, choices in self.genes if len(choices) > 1)

    def num_points(self) -> int:
        """Points of the space, counting genes of absent blocks as well: an upper bound of its networks."""
        return math.prod(len(choices) for _, choices in self.genes)

    def largest(self) -> Arch:
        """The network of the costly end of every gene."""
        return self.decode({name: choices[-1] for name, choices in self.genes})

    def smallest(self) -> Arch:
        """The network of the cheap end of every gene."""
        return self.decode({name: choices[0] for name, choices in self.genes})

    def sample(self, rng: random.Random) -> Arch:
        """A network with every gene drawn uniformly from its open choices."""
        return self.decode({name: rng.choice(choices) for name, choices in self.genes})

    def mutate(self, arch: Arch, rng: random.Random, rate: float = 0.1) -> Arch:
        """A neighbour of `arch`: each open gene is redrawn with probability `rate`, at least one of them always."""
        point = self.encode(arch)
        open_genes = [gene for gene in self.open_genes() if gene in point]
        if not open_genes:
            return arch
        chosen = [gene for gene in open_genes if rng.random() < rate] or [rng.choice(open_genes)]
        return self.decode({**point, **{gene: rng.choice(self.by_name[gene]) for gene in chosen}})

    def restrict(self, gene: str, kept: Iterable[int]) -> Space:
        """The space with only the choices `kept` of `gene`. Raises ValueError if none is left."""
        wanted = set(kept)
        left = tuple(choice for choice in self.choices(gene) if choice in wanted)
        if not left:
            raise ValueError(f"gene {gene}: none of {sorted(wanted)} is among its choices {self.choices(gene)}")
        return Space(self.template, tuple((name, left if name == gene else old) for name, old in self.genes))

    def fix(self, arch: Arch, genes: Iterable[str]) -> Space:
        """The space in which each of `genes` keeps only the choice it has in `arch`."""
        space, point = self, self.encode(arch)
        for gene in genes:
            space = space.restrict(gene, [point.get(gene, self.by_name[gene][-1])])
        return space

    def decode(self, point: Mapping[str, int]) -> Arch:
        """The network of a point; genes that are absent take their costly end. Raises ValueError on a wrong choice."""
        for gene, choice in point.items():
            if choice not in self.choices(gene):
                raise ValueError(f"gene {gene}: {choice} is not among {self.choices(gene)}")
        genes = {name: point.get(name, choices[-1]) for name, choices in self.genes}
        start = self.template
        height = genes["size"]
        width = (
            height if start.size_hw[0] == start.size_hw[1] else _round(height * start.size_hw[1] / start.size_hw[0], 8)
        )
        stages = tuple(self._decode_stage(genes, i, stage) for i, stage in enumerate(start.stages))
        return start.replace(
            size_hw=start.size_hw if height == start.size_hw[0] else (height, width),
            stem=dataclasses.replace(start.stem, out=genes["stem.out"], stride=genes["stem.stride"]),
            head=dataclasses.replace(start.head, conv=genes.get("head.conv", 0), hidden=genes.get("head.hidden", 0)),
            stages=stages,
            dense=start.dense and _decode_dense(genes, start.dense),
        )

    def _decode_stage(self, genes: Mapping[str, int], i: int, stage: Stage) -> Stage:
        blocks = []
        for j in range(genes[f"s{i}.depth"]):
            block = _block_of(stage, j)
            values = {name: genes.get(f"s{i}.b{j}.{name}", getattr(block, name)) for name in BLOCK_GENES}
            stride = genes[f"s{i}.stride"] if j == 0 else 1
            if stride > 1 and not values["kernel"] and not values["start_kernel"]:
                values["kernel"] = 3
            if values["ratio"] == 1 and genes[f"s{i}.project_ratio"] == 1:
                values["cheap_kernel"] = block.cheap_kernel  # no cheap operation: the gene is silent
            values["se"] = _squeezed(block, values["mid"]) if values["se"] else 0
            blocks.append(dataclasses.replace(block, stride=stride, **{**values, "dfc": bool(values["dfc"])}))
        return Stage(out=genes[f"s{i}.out"], blocks=tuple(blocks), project_ratio=genes[f"s{i}.project_ratio"])

    def encode(self, arch: Arch) -> Point:
        """The point that `arch` is; genes of absent blocks are left out. Raises ValueError if it lies outside."""
        point = dict(_read_genes(arch))
        if len(arch.stages) != len(self.template.stages):
            raise ValueError(f"{len(arch.stages)} stages; the space has {len(self.template.stages)}")
        point = {gene: choice for gene, choice in point.items() if gene in self.by_name}
        for gene in list(point):
            if point[gene] not in self.by_name[gene]:
                if gene.endswith(".cheap_kernel"):
                    del point[gene]  # silent where nothing is made cheaply
                elif gene.endswith(".kernel") and 0 in self.by_name[gene]:
                    point[gene] = 0  # a stride forced the kernel
                else:
                    raise ValueError(f"gene {gene}: {point[gene]} is not among {self.by_name[gene]}")
        if self.decode(point) != arch:
            raise ValueError("the network differs from this space in a part that no gene describes")
        return point

    def __contains__(self, arch: object) -> bool:
        if not isinstance(arch, Arch):
            return False
        try:
            self.encode(arch)
        except ValueError:
            return False
        return True

    def to_dict(self) -> dict[str, Any]:
        """Plain dict, ready for JSON."""
        return {
            "schema": SCHEMA,
            "template": self.template.to_dict(),
            "genes": {name: list(c) for name, c in self.genes},
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Space:
        """Inverse of `to_dict`. Raises ValueError on anything else."""
        if data.get("schema") != SCHEMA:
            raise ValueError(f"search space of schema {data.get('schema')!r}; this version reads {SCHEMA!r}")
        return cls(Arch.from_dict(data["template"]), tuple((name, tuple(c)) for name, c in data["genes"].items()))


DENSE_GENES = ("width", "ratio", "kernel", "expand", "head_depth")
BLOCK_GENES = ("mid", "kernel", "start_kernel", "ratio", "cheap_kernel", "se", "dfc")
COSTLY_WHEN_SMALL = ("ratio", "project_ratio", "stride")


def _dense_genes(
    dense: Dense, widths: Sequence[float], kernels: Sequence[int], ratios: Sequence[int], align: int
) -> dict[str, set[int]]:
    return {
        "dense.width": _multiples(dense.width, widths, align),
        "dense.ratio": {dense.ratio, *ratios},
        "dense.kernel": {dense.kernel, *kernels} - {0},
        "dense.expand": {dense.expand, 0, 1},
        "dense.head_depth": set(range(min(1, dense.head_depth), dense.head_depth + 1)),
    }


def _block_genes(
    block: Block,
    expands: Sequence[float],
    kernels: Sequence[int],
    ratios: Sequence[int],
    cheap_kernels: Sequence[int],
    se: bool,
    dfc: bool,
    align: int,
) -> dict[str, set[int]]:
    if block.kind == "conv":
        return {"kernel": {block.kernel}, "cheap_kernel": {block.cheap_kernel, *cheap_kernels}}
    genes = {
        "kernel": {block.kernel, *kernels},
        "start_kernel": {block.start_kernel},
        "se": {int(block.se > 0), *((0, 1) if se else ())},
        "cheap_kernel": {block.cheap_kernel, *cheap_kernels},
    }
    if block.mid:
        genes["mid"] = _multiples(block.mid, expands, align)
        genes["ratio"] = {block.ratio, *ratios}
        genes["dfc"] = {int(block.dfc), *((0, 1) if dfc else ())}
    return genes


def _decode_dense(genes: Mapping[str, int], dense: Dense) -> Dense:
    changes: dict[str, Any] = {name: genes[f"dense.{name}"] for name in DENSE_GENES}
    return dataclasses.replace(dense, **changes)


def _read_genes(arch: Arch) -> Iterator[tuple[str, int]]:
    yield "size", arch.size_hw[0]
    yield "stem.out", arch.stem.out
    yield "stem.stride", arch.stem.stride
    yield "head.conv", arch.head.conv
    yield "head.hidden", arch.head.hidden
    if arch.dense is not None:
        yield from ((f"dense.{name}", getattr(arch.dense, name)) for name in DENSE_GENES)
    for i, stage in enumerate(arch.stages):
        yield f"s{i}.out", stage.out
        yield f"s{i}.depth", len(stage.blocks)
        yield f"s{i}.stride", stage.blocks[0].stride
        yield f"s{i}.project_ratio", stage.project_ratio
        for j, block in enumerate(stage.blocks):
            for name in BLOCK_GENES:
                value = getattr(block, name)
                yield f"s{i}.b{j}.{name}", int(value > 0) if name in ("se", "dfc") else value


def _block_of(stage: Stage, index: int) -> Block:
    """Traits of block `index`: the stage's own, the last one repeated beyond its depth."""
    if index < len(stage.blocks):
        return stage.blocks[index]
    return dataclasses.replace(stage.blocks[-1], stride=1)


def _squeezed(block: Block, mid: int) -> int:
    """Channels inside squeeze-and-excitation: the template's fraction, or a quarter (arXiv 1905.02244, section 5.3)."""
    base = mid or block.mid
    fraction = block.se / block.mid if block.se and block.mid else 0.25
    if not base:  # a block without expansion squeezes its input, whose width the template's own figure fits
        return block.se or 8
    return make_divisible(base * fraction, 4)


def _cheap_first(gene: str, choices: Iterable[int]) -> tuple[int, ...]:
    return tuple(sorted(choices, reverse=gene.rsplit(".", 1)[-1] in COSTLY_WHEN_SMALL))


def _multiples(base: int, factors: Sequence[float], align: int) -> set[int]:
    return {base} | {_round(base * factor, align) for factor in factors if factor != 1.0}


def _round(value: float, align: int) -> int:
    return max(align, int(value / align + 0.5) * align)


def _check_multipliers(**factors: Sequence[float]) -> None:
    for name, values in factors.items():
        if any(value <= 0 for value in values):
            raise ValueError(f"{name}={tuple(values)}: multipliers must be above zero")

"""Which anchors learn which object: by how well they predict it already, or, at first, by where they lie.

Task-aligned assignment: TOOD (arXiv 2108.07755, section 3.2), with the figures of PP-PicoDet (arXiv 2111.00902); for a
head without NMS one anchor an object (YOLOv10, arXiv 2405.14458, section 3.1). ATSS: arXiv 1912.02424, algorithm 1. All
see an object's class and box only; nothing here loops over objects.

>>> grid = make_grid((32, 32), (8, 16))
>>> grid.levels_hw, grid.points[0].tolist(), grid.points[-1].tolist()
(((4, 4), (2, 2)), [4.0, 4.0], [24.0, 24.0])
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from ghostfit.train.tasks.losses import overlap_of
from ghostfit.vision.boxes import anchor_points

CROWD = -2  # in y["classes"]; -1 is padding
TOP_K, ALPHA, BETA = 13, 1.0, 6.0  # TOOD, section 4.1
NEAREST = 9  # candidates of a level; ATSS, section 4.3
WINDOW = 5  # cells a side that hold the 9 nearest, even in a corner
SQUARE = 5.0  # side of the box that stands for an anchor in ATSS, in strides; PP-YOLOE (arXiv 2203.16250)


@dataclass(frozen=True, eq=False)
class Grid:
    """The anchors of an input of `size_hw` pixels.

    `points` (A, 2): x and y of their centres; `sides` (A,): the stride of each one's level; `strides` and `levels_hw`:
    stride, rows and columns of each level.
    """

    size_hw: tuple[int, int]
    points: Tensor
    sides: Tensor
    strides: tuple[int, ...]
    levels_hw: tuple[tuple[int, int], ...]


@dataclass(frozen=True, eq=False)
class Assignment:
    """P anchors that learn one object each.

    `images`, `anchors`, `objects` (P,) int64: where they stand in the batch, and which of the image's objects it is.
    `targets` (P,), 0..1: the score wanted of its class. `ignored` (B, A) bool, or None: anchors in a crowd, of which
    nothing is wanted.
    """

    images: Tensor
    anchors: Tensor
    objects: Tensor
    targets: Tensor
    ignored: Tensor | None


@lru_cache(maxsize=64)
def make_grid(size_hw: tuple[int, int], strides: tuple[int, ...], device: torch.device | None = None) -> Grid:
    """Anchors of all levels for an input of `size_hw` pixels, in the order of the network's outputs."""
    points = torch.tensor(anchor_points(size_hw, strides), device=device)
    levels_hw = tuple((-(-size_hw[0] // stride), -(-size_hw[1] // stride)) for stride in strides)
    counts = torch.tensor([height * width for height, width in levels_hw])
    sides = torch.tensor(strides, dtype=torch.float32).repeat_interleave(counts).to(points.device)
    return Grid(size_hw, points, sides, strides, levels_hw)


def check_sizes(sizes_hw: Sequence[tuple[int, int]], strides: tuple[int, ...]) -> None:
    """Raise ValueError when inputs of two sizes have equally many anchors, so that outputs don't tell them apart."""
    known: dict[int, tuple[int, int]] = {}
    for size_hw in sizes_hw:
        num = sum(height * width for height, width in make_grid(size_hw, strides).levels_hw)
        if known.setdefault(num, size_hw) != size_hw:
            raise ValueError(
                f"inputs of {known[num]} and of {size_hw} pixels both have {num} anchors at strides {strides}; "
                "use sizes that differ by a cell of the finest level"
            )


def grid_of(
    num_anchors: int, sizes_hw: Sequence[tuple[int, int]], strides: tuple[int, ...], device: torch.device
) -> Grid:
    """The anchors of that one of `sizes_hw` that gives `num_anchors`. Raises ValueError when none does."""
    for size_hw in sizes_hw:
        grid = make_grid(tuple(size_hw), strides, device)
        if len(grid.points) == num_anchors:
            return grid
    raise ValueError(
        f"outputs with {num_anchors} anchors, which no input of {' or '.join(map(str, sizes_hw))} pixels gives at "
        f"strides {strides}; name all input sizes and the head's strides when the task is made"
    )


def assign_aligned(
    scores: Tensor, boxes_xyxy: Tensor, grid: Grid, y: Mapping[str, Tensor], *, top_k: int = TOP_K
) -> Assignment:
    """Each object's `top_k` anchors of highest alignment, score x overlap^6, with their centre inside the object.

    scores: (B, A, C) logits; boxes_xyxy: (B, A, 4), what the anchors predict. An anchor that several objects want goes
    to the one it is aligned with best. The wanted score is the alignment, scaled so that the object's best anchor gets
    its best overlap.
    """
    images, slots = (y["classes"] >= 0).nonzero(as_tuple=True)
    wanted, table = y["boxes"][images, slots], _alignments(scores, boxes_xyxy, grid, y)
    best, anchors = table.topk(min(top_k, table.shape[1]), dim=1)
    owners, ranks = (best >= 0).nonzero(as_tuple=True)
    aligned, anchors = best[owners, ranks], anchors[owners, ranks]
    kept = _settle(images[owners], anchors, owners, aligned, scores.shape[:2])
    owners, anchors, aligned = owners[kept], anchors[kept], aligned[kept]
    where = images[owners]
    overlaps = overlap_of(boxes_xyxy[where, anchors], wanted[owners])
    most_aligned, most_overlap = (_most(values, owners, len(images)) for values in (aligned, overlaps))
    targets = aligned / most_aligned.clamp(min=torch.finfo(torch.float32).tiny) * most_overlap
    return Assignment(where, anchors, slots[owners], targets, ignored_anchors(grid, y))


def assign_single(scores: Tensor, boxes_xyxy: Tensor, grid: Grid, y: Mapping[str, Tensor]) -> Assignment:
    """Each object's one anchor of highest alignment, as `assign_aligned` has it; the wanted score is its overlap.

    Where several objects want the same anchor, it goes to the one it is aligned with best, and the others take the best
    that is left to them; an object goes without only where all its anchors are taken.
    """
    images, slots = (y["classes"] >= 0).nonzero(as_tuple=True)
    table = _alignments(scores, boxes_xyxy, grid, y)
    is_taken = torch.zeros(scores.shape[:2], dtype=torch.bool, device=scores.device)
    chosen, waiting = images.new_full((len(images),), -1), torch.arange(len(images), device=images.device)
    while len(waiting):
        best, anchors = table[waiting].masked_fill(is_taken[images[waiting]], -1.0).max(1)
        is_free = best >= 0
        waiting, best, anchors = waiting[is_free], best[is_free], anchors[is_free]
        has_won = _settle(images[waiting], anchors, waiting, best, scores.shape)
        chosen[waiting[has_won]] = anchors[has_won]
        is_taken[images[waiting], anchors] = True
        waiting = waiting[~has_won]
    owners = (chosen >= 0).nonzero()[:, 0]
    where, anchors, objects = images[owners], chosen[owners], slots[owners]
    targets = overlap_of(boxes_xyxy[where, anchors], y["boxes"][where, objects])
    return Assignment(where, anchors, objects, targets, ignored_anchors(grid, y))


def assign_nearest(boxes_xyxy: Tensor, grid: Grid, y: Mapping[str, Tensor], *, top_k: int = NEAREST) -> Assignment:
    """ATSS: of each object's `top_k` nearest anchors a level, those whose square overlaps it more than usual.

    More than usual: at least mean + standard deviation over the candidates; the best one always counts. Centres must
    lie inside the object. boxes_xyxy: (B, A, 4), what the anchors predict; its overlap is the wanted score.
    """
    images, slots = (y["classes"] >= 0).nonzero(as_tuple=True)
    wanted = y["boxes"][images, slots]
    anchors = _nearest((wanted[:, :2] + wanted[:, 2:]) / 2, grid, top_k)
    half = SQUARE / 2 * grid.sides[:, None]
    squares = torch.cat((grid.points - half, grid.points + half), 1)
    overlaps = overlap_of(squares[anchors], wanted[:, None].expand(-1, anchors.shape[1], -1))
    is_inside = _contains(wanted, grid).gather(1, anchors)
    mean = overlaps.mean(1, keepdim=True)
    usual = mean + (overlaps - mean).square().mean(1, keepdim=True).sqrt()
    inside = overlaps.where(is_inside, overlaps.new_tensor(-1.0))
    is_best = inside >= inside.amax(1, keepdim=True)
    owners, ranks = (is_inside & ((overlaps >= usual) | is_best)).nonzero(as_tuple=True)
    anchors, overlaps = anchors[owners, ranks], overlaps[owners, ranks]
    kept = _settle(images[owners], anchors, owners, overlaps, boxes_xyxy.shape[:2])
    owners, anchors = owners[kept], anchors[kept]
    where = images[owners]
    targets = overlap_of(boxes_xyxy[where, anchors], wanted[owners])
    return Assignment(where, anchors, slots[owners], targets, ignored_anchors(grid, y))


def _alignments(scores: Tensor, boxes_xyxy: Tensor, grid: Grid, y: Mapping[str, Tensor]) -> Tensor:
    """(G, A): score x overlap^6 of each object, image after image, with each anchor; -1 where its centre is outside."""
    images, slots = (y["classes"] >= 0).nonzero(as_tuple=True)
    wanted, classes = y["boxes"][images, slots], y["classes"][images, slots]
    is_inside = _contains(wanted, grid)
    owners, anchors = is_inside.nonzero(as_tuple=True)
    where = images[owners]
    overlaps = overlap_of(boxes_xyxy[where, anchors], wanted[owners])
    aligned = scores[where, anchors, classes[owners]].float().sigmoid() ** ALPHA * overlaps**BETA
    table = aligned.new_full(is_inside.shape, -1.0)
    table[owners, anchors] = aligned
    return table


def _nearest(centres: Tensor, grid: Grid, top_k: int) -> Tensor:
    """(G, K): the `top_k` anchors of each level that are nearest to each of the points (G, 2), all of a smaller level.

    They are looked for in a window around each point, which holds them for `top_k` up to 9.
    """
    found, begin = [], 0
    for stride, (height, width) in zip(grid.strides, grid.levels_hw, strict=True):
        columns, rows = (_window(centres[:, axis] / stride, size) for axis, size in enumerate((width, height)))
        anchors = (rows[:, :, None] * width + columns[:, None, :]).flatten(1) + begin
        distances = (grid.points[anchors] - centres[:, None]).square().sum(-1)
        nearest = distances.topk(min(top_k, anchors.shape[1]), dim=1, largest=False).indices
        found.append(anchors.gather(1, nearest))
        begin += height * width
    return torch.cat(found, 1)


def _window(places: Tensor, size: int) -> Tensor:
    """(G, W): the numbers of the `WINDOW` cells around each place (G,) on an axis of `size` cells."""
    first = (places.floor().long() - WINDOW // 2).clamp(0, max(size - WINDOW, 0))
    return first[:, None] + torch.arange(min(WINDOW, size), device=places.device)


def ignored_anchors(grid: Grid, y: Mapping[str, Tensor]) -> Tensor | None:
    """Which anchors (B, A) lie in a crowd; None when there is no crowd."""
    images, slots = (y["classes"] == CROWD).nonzero(as_tuple=True)
    if not len(images):
        return None
    is_inside = _contains(y["boxes"][images, slots], grid)
    counts: Tensor = is_inside.new_zeros((len(y["classes"]), is_inside.shape[1]), dtype=torch.float32)
    counts.index_add_(0, images, is_inside.float())
    return counts > 0


def _contains(boxes_xyxy: Tensor, grid: Grid) -> Tensor:
    """(G, A): whether the anchor's centre lies inside the box.

    A box smaller than a cell of the finest level is widened to one, or objects between the centres were never learnt.
    """
    centres, sides = (boxes_xyxy[:, :2] + boxes_xyxy[:, 2:]) / 2, boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]
    half = sides.clamp(min=grid.strides[0]) / 2
    left, top = (centres - half).T[..., None]
    right, bottom = (centres + half).T[..., None]
    xs, ys = grid.points.T
    is_inside: Tensor = (xs >= left) & (xs <= right) & (ys >= top) & (ys <= bottom)
    return is_inside


def _settle(images: Tensor, anchors: Tensor, owners: Tensor, values: Tensor, shape: Sequence[int]) -> Tensor:
    """(P,) bool: of pairs that want the same anchor, the one of highest value; the first object of equals."""
    flat = images * shape[1] + anchors
    num = shape[0] * shape[1]
    is_kept = values >= _most(values, flat, num)
    first = owners.new_full((num,), torch.iinfo(owners.dtype).max)
    first.scatter_reduce_(0, flat[is_kept], owners[is_kept], "amin")
    return is_kept & (owners == first[flat])


def _most(values: Tensor, groups: Tensor, num_groups: int) -> Tensor:
    """(P,): the highest of `values`, which are never negative, within the group of each."""
    most: Tensor = values.new_zeros(num_groups).scatter_reduce_(0, groups, values, "amax")
    return most[groups]

"""Pictures of what a detector or a segmenter gets wrong, and of how it does as a rule, for the report. No torch.

A picture is a strip: the truth on the left, the answer on the right, for class maps with the plain image before them.
Of objects blue ones are right, orange ones wrong, grey ones count nowhere.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from ghostfit.vision.coco import mask_codes
from ghostfit.vision.decode import SCORE_FLOOR
from ghostfit.vision.detection_metrics import IOU
from ghostfit.vision.draw import Colour, Mark, draw_marks, paint_classes
from ghostfit.vision.matching import Match, match_image
from ghostfit.vision.objects import IGNORE, Objects
from ghostfit.vision.placement import Placement
from ghostfit.vision.results import ClassMap, Detections, Result

if TYPE_CHECKING:
    from ghostfit.data.dataset import Sample
    from ghostfit.runtime.predict import Model

Row = dict[str, Any]

NUM_WRONG = 8  # pictures of misses, of false alarms, of bad class maps
MOST_OF_IMAGE = 2  # of them from one image, so that one bad image does not fill the page
NUM_RANKED = 48  # images, evenly spaced, among which the typical ones are looked for
RANKS = {"best": 1.0, "good": 0.75, "median": 0.5, "poor": 0.25, "worst": 0.0}  # place in the order of the ranked
CROP_SIDE, WHOLE_SIDE, MAP_SIDE = 180, 238, 158  # longest side of a panel in pixels; a strip is at most 482 wide
GAP = 4  # pixels between panels
CONTEXT = 2.4  # side of a crop, in longest sides of the object
LEAST_CROP = 0.2  # of the image's shorter side: a speck alone says nothing
NEAR = 0.1  # IoU from which on an answer was meant for an object
NAMES_SHOWN = 6  # objects of a panel, up to which the right ones are named as well
RIGHT, WRONG, NEITHER = (86, 180, 233), (255, 128, 30), (170, 170, 170)


def pictures_of(model: Model, samples: Sequence[Sample], report: dict[str, Any]) -> list[Row]:
    """Rows of id, kind, text and jpeg_base64 that show what `report` (of `score_bundle`, over `samples`) counts.

    For objects kinds are ``miss``, ``false_alarm`` and ``mosaic``, a whole image; for class maps ``worst`` and
    ``typical``. A sample that can't be read any more is left out.
    """
    lost = {entry["index"] for entry in report["skipped"]}
    kept = [sample for number, sample in enumerate(samples) if number not in lost]
    if model.manifest.task == "segment":
        return _pictures_of_maps(model, kept, report)
    return _pictures_of_objects(model, kept, report)


# Objects


@dataclass(frozen=True, eq=False)
class _Scene:
    """An image with its objects (M), what was found (N), and which of it counts as an answer."""

    id: str
    pixels: np.ndarray
    truth: Objects
    found: Detections
    match: Match
    is_taken: np.ndarray

    @property
    def is_found(self) -> np.ndarray:
        """(M,), bool: objects that an answer is right about."""
        is_found = np.zeros(len(self.truth), np.bool_)
        hit = np.flatnonzero(self.match.found_of >= 0)
        is_found[hit] = self.is_taken[self.match.found_of[hit]]
        return is_found

    @property
    def is_alarm(self) -> np.ndarray:
        """(N,), bool: answers that are wrong."""
        is_alarm: np.ndarray = self.is_taken & ~self.match.is_right & ~self.match.is_ignored
        return is_alarm

    @property
    def f1(self) -> float | None:
        """F1 of this image; None where nothing is and nothing was said."""
        hits, misses, alarms = self.counts
        return 2 * hits / (2 * hits + misses + alarms) if hits + misses + alarms else None

    @property
    def counts(self) -> tuple[int, int, int]:
        """Objects found, objects missed, false alarms."""
        hits = int(self.is_found.sum())
        return hits, int((~self.truth.is_crowd).sum()) - hits, int(self.is_alarm.sum())


def _pictures_of_objects(model: Model, kept: Sequence[Sample], report: dict[str, Any]) -> list[Row]:
    score = report["operating_point"]["score"]

    def scene(number: int) -> _Scene | None:
        return _read_scene(model, kept[number], report["kind"], score)

    wanted = [
        (kind, entry)
        for kind, name in (("miss", "misses"), ("false_alarm", "false_alarms"))
        for entry in _varied(report["worst"][name])
    ]
    rows: dict[int, Row] = {}
    for image in dict.fromkeys(entry["image"] for _, entry in wanted):  # each image is read once
        seen = scene(image)
        for place, (kind, entry) in enumerate(wanted):
            if seen is not None and entry["image"] == image:
                row = _miss(seen, entry) if kind == "miss" else _false_alarm(seen, entry)
                rows |= {place: row} if row is not None else {}
    return [rows[place] for place in sorted(rows)] + list(_whole_images(scene, len(kept)))


def _varied(entries: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The first `NUM_WRONG`, without the third and further ones of an image."""
    seen: list[int] = []
    chosen: list[dict[str, Any]] = []
    for entry in entries:
        seen.append(entry["image"])
        if seen.count(entry["image"]) <= MOST_OF_IMAGE and len(chosen) < NUM_WRONG:
            chosen.append(entry)
    return chosen


def _read_scene(model: Model, sample: Sample, kind: str, score: float | None) -> _Scene | None:
    seen = _ask(model, sample)
    if seen is None:
        return None
    pixels, truth, found = seen
    if not isinstance(truth, Objects) or not isinstance(found, Detections):
        return None
    codes: list[Any] = [None, None]
    if kind == "masks":
        if any(len(part) and (part.masks is None or part.masks.shape[1:] != found.size_hw) for part in (truth, found)):
            return None
        codes = [mask_codes(found.masks), mask_codes(truth.masks)]
    match = match_image(found, truth, codes[0], codes[1], IOU)
    is_taken = match.scores >= (2 if score is None else score)
    return _Scene(sample.id, pixels, truth, found, match, is_taken)


def _miss(scene: _Scene, entry: dict[str, Any]) -> Row | None:
    number = entry["object"]
    if number >= len(scene.truth):
        return None
    picture = _strip_of_objects(scene, _around(scene, entry["box_xyxy"]), CROP_SIDE, missed=number)
    return _row(scene.id, "miss", f"{entry['label']} missed: {_why_missed(scene, number)}", picture)


def _why_missed(scene: _Scene, number: int) -> str:
    match, names = scene.match, scene.found.class_names
    overlaps = np.where(scene.is_taken, match.overlaps[:, number], 0.0)
    best = int(overlaps.argmax()) if len(overlaps) else -1
    if best >= 0 and overlaps[best] >= IOU and match.found_ids[best] != match.true_ids[number]:
        return f"called {names[match.found_ids[best]]} ({match.scores[best]:.2f})"
    if match.found_of[number] >= 0:
        return f"seen, but with a score of {match.scores[match.found_of[number]]:.2f} only"
    if best >= 0 and overlaps[best] >= NEAR:
        return f"the answer fits badly (IoU {overlaps[best]:.2f})"
    return "not seen"


def _false_alarm(scene: _Scene, entry: dict[str, Any]) -> Row | None:
    number = entry["detection"]
    if number >= len(scene.found):
        return None
    picture = _strip_of_objects(scene, _around(scene, entry["box_xyxy"]), CROP_SIDE, alarm=number)
    text = f"{entry['label']} {entry['score']:.2f}: {_what_is_there(scene, number)}"
    return _row(scene.id, "false_alarm", text, picture)


def _what_is_there(scene: _Scene, number: int) -> str:
    match, names = scene.match, scene.found.class_names
    overlaps = np.where(match.is_crowd, 0.0, match.overlaps[number])
    best = int(overlaps.argmax()) if len(overlaps) else -1
    if best < 0 or overlaps[best] < NEAR:
        return "nothing there"
    name = names[match.true_ids[best]]
    if overlaps[best] < IOU:
        return f"fits a {name} badly (IoU {overlaps[best]:.2f})"
    if match.true_ids[best] != match.found_ids[number]:
        return f"is a {name}"
    return "a second answer for one object"


def _whole_images(scene: Callable[[int], _Scene | None], num_images: int) -> Iterator[Row]:
    """Whole images from the best to the worst of those ranked; where they tie, those with more objects are shown."""
    ranked: list[tuple[float, int, int]] = []
    for number in _evenly(num_images):
        seen = scene(number)
        if seen is not None and seen.f1 is not None:
            ranked.append((seen.f1, len(seen.truth), number))
    for name, number in _typical(ranked):
        seen = scene(number)
        if seen is not None:
            hits, misses, alarms = seen.counts
            text = f"{name}: {hits} of {hits + misses} objects found, {alarms} false alarm{'' if alarms == 1 else 's'}"
            height, width = seen.pixels.shape[:2]
            yield _row(seen.id, "mosaic", text, _strip_of_objects(seen, (0, 0, width, height), WHOLE_SIDE))


def _typical(ranked: Sequence[tuple[float, int, int]]) -> list[tuple[str, int]]:
    """Name and index of the image at each of `RANKS`, each image once. Ranked: share that is right, size, index."""
    order = sorted(ranked)
    chosen: dict[int, str] = {}
    for name, place in RANKS.items() if order else ():
        entry = order[round(place * (len(order) - 1))]
        if name == "worst":
            entry = min(order, key=lambda entry: (entry[0], -entry[1]))
        chosen.setdefault(entry[2], name)
    return [(name, number) for number, name in chosen.items()]


def _around(scene: _Scene, box_xyxy: Sequence[float]) -> tuple[int, int, int, int]:
    """A window (left, top, right, bottom) of whole pixels around a box, square as far as the image reaches."""
    height, width = scene.pixels.shape[:2]
    left, top, right, bottom = box_xyxy
    side = round(max(CONTEXT * max(right - left, bottom - top), LEAST_CROP * min(height, width), 16))
    edges = []
    for low, high, most in ((left, right, width), (top, bottom, height)):
        length = min(side, most)
        start = min(max(round((low + high - length) / 2), 0), most - length)
        edges.append((start, start + length))
    return edges[0][0], edges[1][0], edges[0][1], edges[1][1]


def _strip_of_objects(
    scene: _Scene, window: tuple[int, int, int, int], side: int, *, missed: int | None = None, alarm: int | None = None
) -> np.ndarray:
    """Truth and answer within the window; the object `missed`, or the answer `alarm`, is drawn bold."""
    panel, placement = _panel(scene.pixels, window, side)
    truth, found, match = scene.truth, scene.found, scene.match
    names = [found.class_names[class_id] for class_id in truth.class_ids]
    states = np.where(truth.is_crowd, 2, np.where(scene.is_found, 0, 1))
    left = draw_marks(panel, _marks(truth, names, states, placement, missed))
    names = [f"{found.class_names[k]} {s:.2f}" for k, s in zip(found.class_ids, found.scores, strict=True)]
    states = np.where(match.is_ignored, 2, np.where(match.is_right, 0, 1))
    states[~scene.is_taken] = -1
    right = draw_marks(panel, _marks(found, names, states, placement, alarm))
    return _beside([left, right])


def _marks(
    objects: Objects | Detections, names: Sequence[str], states: np.ndarray, placement: Placement, bold: int | None
) -> list[Mark]:
    """Objects in sight, the right ones first and the bold one last. States: 0 right, 1 wrong, 2 neither, -1 hidden."""
    boxes = placement.to_input(objects.boxes_xyxy)
    height, width = placement.input_hw
    is_inside = (boxes[:, 2:] > 0).all(axis=1) & (boxes[:, 0] < width) & (boxes[:, 1] < height) & (states >= 0)
    numbers = np.flatnonzero(is_inside)
    masks = None if objects.masks is None else placement.map_to_input(objects.masks[numbers], fill=False)
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2
    is_whole = np.all((middles >= 0) & (middles < [width, height]), axis=1)  # a name on what is cut off says nothing
    marks = []
    for place in sorted(range(len(numbers)), key=lambda place: (numbers[place] == bold, states[numbers[place]] == 1)):
        number = int(numbers[place])
        colour: Colour = (RIGHT, WRONG, NEITHER)[states[number]]
        is_named = is_whole[number] and (states[number] == 1 or number == bold or len(numbers) <= NAMES_SHOWN)
        mask = None if masks is None else masks[place]
        line = 3 if number == bold else 2 if states[number] == 1 else 1
        marks.append(Mark(boxes[number].tolist(), colour, names[number] if is_named else "", mask, line))
    return marks


# Class maps


def _pictures_of_maps(model: Model, kept: Sequence[Sample], report: dict[str, Any]) -> list[Row]:
    names = report["class_names"]
    bad = [entry["image"] for entry in report["worst"][:NUM_WRONG]]
    rows = [_map_row(model, kept[number], "worst", names) for number in bad]
    ranked: list[tuple[float, int, int]] = []
    for number in _evenly(len(kept)):
        seen = _read_maps(model, kept[number])
        if seen is not None and (num_known := int((seen[1] != IGNORE).sum())):
            ranked.append((float((seen[1] == seen[2]).sum() / num_known), len(np.unique(seen[1])), number))
    for name, number in _typical(ranked):
        if number not in bad:
            rows.append(_map_row(model, kept[number], "typical", names, name))
    return [row for row in rows if row is not None]


def _map_row(model: Model, sample: Sample, kind: str, names: Sequence[str], rank: str = "") -> Row | None:
    seen = _read_maps(model, sample)
    if seen is None:
        return None
    text = _what_was_confused(*seen[1:], names)
    return _row(sample.id, kind, f"{rank}: {text}" if rank else text, _strip_of_maps(*seen))


def _read_maps(model: Model, sample: Sample) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Image, true and predicted class map; None when they can't be had or don't fit."""
    seen = _ask(model, sample)
    if seen is None:
        return None
    pixels, truth, found = seen
    if not isinstance(truth, np.ndarray) or not isinstance(found, ClassMap) or truth.shape != found.class_map.shape:
        return None
    return pixels, truth, found.class_map


def _what_was_confused(truth: np.ndarray, predicted: np.ndarray, names: Sequence[str]) -> str:
    """Pixel accuracy, and the commonest mistake."""
    known = truth != IGNORE
    pairs = truth[known].astype(np.int64) * (IGNORE + 1) + predicted[known]
    confusion = np.bincount(pairs, minlength=(IGNORE + 1) ** 2).reshape(IGNORE + 1, IGNORE + 1)
    total, right = max(1, int(confusion.sum())), int(np.trace(confusion))
    np.fill_diagonal(confusion, 0)
    true, said = divmod(int(confusion.argmax()), IGNORE + 1)
    text = f"{right / total:.1%} of the pixels right"
    if confusion[true, said] and max(true, said) < len(names):
        text += f"; {confusion[true, said] / total:.1%} is {names[true]}, called {names[said]}"
    return text


def _strip_of_maps(pixels: np.ndarray, truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    height, width = pixels.shape[:2]
    panel, placement = _panel(pixels, (0, 0, width, height), MAP_SIDE)
    maps = (placement.map_to_input(classes, fill=IGNORE) for classes in (truth, predicted))
    return _beside([draw_marks(panel, []), *(paint_classes(panel, classes) for classes in maps)])


# Both


def _ask(model: Model, sample: Sample) -> tuple[np.ndarray, Any, Result] | None:
    """Pixels, label and answer for a sample; None when it has vanished or is damaged."""
    prepare = model.manifest.prepare
    if sample.target is None:
        return None
    try:
        pixels = prepare.read(sample.source.read())
        label = sample.target.read()
    except (OSError, ValueError):
        return None
    found = model.results([(prepare.resized(pixels), (pixels.shape[0], pixels.shape[1]))], score_from=SCORE_FLOOR)[0]
    return pixels, label, found


def _evenly(num_images: int) -> list[int]:
    """At most `NUM_RANKED` indices, evenly spaced."""
    return [round(place) for place in np.linspace(0, num_images - 1, min(num_images, NUM_RANKED))]


def _panel(pixels: np.ndarray, window: tuple[int, int, int, int], side: int) -> tuple[np.ndarray, Placement]:
    """The window of an image at `side` pixels for its longer side, and where the image lies in it."""
    left, top, right, bottom = window
    scale = side / max(right - left, bottom - top)
    size_hw = max(1, round((bottom - top) * scale)), max(1, round((right - left) * scale))
    scale_xy = size_hw[1] / (right - left), size_hw[0] / (bottom - top)
    shown = pixels if pixels.shape[2] in (1, 3) else pixels[..., :1]
    crop = Image.fromarray(shown[top:bottom, left:right].repeat(3 // shown.shape[2], axis=2))
    panel = np.array(crop.resize((size_hw[1], size_hw[0]), Image.Resampling.BICUBIC))
    placement = Placement(
        image_hw=(pixels.shape[0], pixels.shape[1]),
        input_hw=size_hw,
        scale_xy=scale_xy,
        offset_xy=(-left * scale_xy[0], -top * scale_xy[1]),
    )
    return panel, placement


def _beside(panels: Sequence[np.ndarray]) -> np.ndarray:
    gap = np.full((panels[0].shape[0], GAP, 3), 128, np.uint8)
    parts = [part for panel in panels for part in (gap, panel)]
    return np.concatenate(parts[1:], axis=1)


def _row(name: str, kind: str, text: str, picture: np.ndarray) -> Row:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=80)
    return {"id": name, "kind": kind, "text": text, "jpeg_base64": base64.b64encode(buffer.getvalue()).decode()}

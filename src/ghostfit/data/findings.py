"""What the check can find: one row of `KINDS` for each finding, with its meaning and what to do. Ids never change.

`docs/checks.md` holds the same table (`as_markdown`).

>>> KINDS["GF505"].title
'identical images with different labels'
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Severity = Literal["error", "warning", "info"]
SHOWN_ITEMS = 200  # of a finding, in JSON; the count tells of the rest


@dataclass(frozen=True)
class Kind:
    """A finding that can be made."""

    severity: Severity
    title: str
    meaning: str
    remedy: str


@dataclass(frozen=True)
class Finding:
    """A finding that was made. `items` are the ids of the images or classes concerned, `groups` those that belong
    together."""

    id: str
    severity: Severity
    title: str
    meaning: str
    remedy: str
    count: int
    detail: str
    items: tuple[str, ...]
    groups: tuple[tuple[str, ...], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready dict, with at most `SHOWN_ITEMS` items and groups."""
        return {
            **{
                name: getattr(self, name)
                for name in ("id", "severity", "title", "meaning", "remedy", "count", "detail")
            },
            "items": list(self.items[:SHOWN_ITEMS]),
            "groups": [list(group) for group in self.groups[:SHOWN_ITEMS]],
        }


def make_finding(
    id: str, items: tuple[str, ...], detail: str = "", groups: tuple[tuple[str, ...], ...] = (), *, count: int = 0
) -> Finding:
    """A finding of kind `id`; `count` is the number of groups, else of items, unless given."""
    kind = KINDS[id]
    total = count or len(groups) or len(items)
    return Finding(id, kind.severity, kind.title, kind.meaning, kind.remedy, total, detail, items, groups)


def as_markdown() -> str:
    """The table of all findings."""
    rows = [f"| {id} | {kind.severity} | {kind.title} | {kind.meaning} | {kind.remedy} |" for id, kind in KINDS.items()]
    return "\n".join(["| id | severity | found | what it means | what to do |", "|---|---|---|---|---|", *rows]) + "\n"


KINDS: Mapping[str, Kind] = {
    # 1: files
    "GF101": Kind(
        "error",
        "unreadable images",
        "The file is damaged, no image in spite of its name, or too large to be read. It is left out of every split.",
        "Copy it again from its source, cut or shrink what is too large, or delete it.",
    ),
    "GF102": Kind(
        "error",
        "truncated images",
        "The file ends too early, as after a broken copy or download. It is left out of every split.",
        "Copy it again from its source, or delete it.",
    ),
    "GF103": Kind(
        "error",
        "empty files",
        "The file has no bytes. It is left out of every split.",
        "Copy it again from its source, or delete it.",
    ),
    "GF104": Kind(
        "error",
        "files that vanished",
        "The file was listed but was gone when it was read. It is left out of every split.",
        "Restore it, and don't change the data while it is read.",
    ),
    "GF105": Kind(
        "info",
        "entries passed over",
        "A file that is no image, has no label, or may not be read is no part of the data set.",
        "Nothing, if they are none of your images; else move each into the folder of its class.",
    ),
    # 2: how pixels are stored
    "GF201": Kind(
        "info",
        "rotation by EXIF",
        "The camera stored the image turned and a tag that says how. ghostfit turns it; other programs may not.",
        "Nothing here; make sure that the device where the model runs hands over upright images.",
    ),
    "GF202": Kind(
        "info",
        "grayscale among colour images",
        "Some images have one channel; they become gray RGB. If they belong to few classes, gray itself is a clue.",
        "Nothing, if gray images will be met in use; else replace them, or train with --channels 1.",
    ),
    "GF203": Kind(
        "warning",
        "CMYK images",
        "Colours for print are turned to RGB without a profile and may look different from what was meant.",
        "Convert them to RGB with a program that knows their profile.",
    ),
    "GF204": Kind(
        "info",
        "16-bit images",
        "256 steps of each sample are used: of gray over the range of values that training images have, which "
        "the bundle keeps and applies; of colour, its high byte.",
        "Nothing, if 256 steps show what matters; else stretch it to 8 bits, the same way on the device.",
    ),
    "GF205": Kind(
        "info",
        "transparency",
        "Transparent pixels are laid over white.",
        "Nothing, if white is right; else flatten the images over the background that will be met in use.",
    ),
    "GF206": Kind(
        "warning",
        "animations",
        "Only the first frame is used.",
        "Export the frames that matter as images.",
    ),
    # 3: sizes
    "GF301": Kind(
        "warning",
        "tiny images",
        "The image is smaller than half the network's input (or than 16 pixels); enlarging it adds no detail.",
        "Remove thumbnails, or choose a smaller input size.",
    ),
    "GF302": Kind(
        "info",
        "uncommon shapes",
        "The ratio of width to height is twice or half the usual one; resizing to one shape distorts it.",
        "Crop these images, or use --resize crop or letterbox.",
    ),
    "GF303": Kind(
        "warning",
        "blank images",
        "All pixels have nearly one colour: there is nothing to learn.",
        "Delete them, unless blank is what the class is about.",
    ),
    "GF304": Kind(
        "warning",
        "the file gives the class away",
        "Size or file format alone predict the class much better than chance; a network may learn that instead.",
        "Bring all classes to one size and format, from the same cameras.",
    ),
    # 4: classes
    "GF401": Kind(
        "warning",
        "unbalanced classes",
        "The largest class has ten times the images of the smallest or more; rare classes are learned worse.",
        "Add images of the rare classes, or train with class weights balanced.",
    ),
    "GF402": Kind(
        "warning",
        "classes with few images",
        "Under 20 images of a class teach little, and its accuracy can't be measured.",
        "Add images, or join the class with another.",
    ),
    "GF403": Kind(
        "error",
        "classes absent from training",
        "A class has images to be tested on but none to learn from; it will never be predicted.",
        "Add training images of it, or remove it.",
    ),
    "GF404": Kind(
        "warning",
        "classes absent from a split",
        "A class has no image in validation or test, so nothing is known of it there.",
        "Add images of it to the split.",
    ),
    "GF405": Kind(
        "warning",
        "class names that differ only in writing",
        "Two classes have the same name but for case, spaces, hyphens or underscores; they may be one.",
        "Join the folders, or rename one.",
    ),
    # 5: copies
    "GF501": Kind(
        "warning",
        "identical images in a split",
        "The same pixels occur more than once; they count more than others.",
        "Keep one of each group.",
    ),
    "GF502": Kind(
        "error",
        "identical images across splits",
        "An image to be tested on is also learned from; the measured accuracy is too high.",
        "Remove it from one of the splits.",
    ),
    "GF503": Kind(
        "info",
        "nearly identical images in a split",
        "Copies that were resized or re-encoded, or shots of one scene. A split made here keeps them on one side.",
        "Keep one of each group, if they are copies.",
    ),
    "GF504": Kind(
        "warning",
        "nearly identical images across splits",
        "An image to be tested on has a near copy that is learned from; the measured accuracy may be too high.",
        "Move each group to one side.",
    ),
    "GF505": Kind(
        "error",
        "identical images with different labels",
        "The same pixels have two different labels; at least one of them is wrong.",
        "Look at each pair and delete the wrong one.",
    ),
    "GF506": Kind(
        "warning",
        "nearly identical images with different labels",
        "Two images that look the same stand under two classes; one label may be wrong.",
        "Look at each pair.",
    ),
    # 6: labels of objects and pixels
    "GF601": Kind(
        "error",
        "label files that can't be read",
        "The file is damaged, too large, missing, or of another form. Its image is left out, or has no objects.",
        "Copy it again from its source, or export it anew.",
    ),
    "GF602": Kind(
        "error",
        "labels without an image",
        "A label names an image that is not there; the label is of no use.",
        "Put the image where the label says, or delete the label.",
    ),
    "GF603": Kind(
        "error",
        "objects of an unknown class",
        "The number or id of the class is not among those that the data set lists. The object is left out, so what it "
        "shows is learned as background.",
        "Add the class to the list, or mend the number.",
    ),
    "GF604": Kind(
        "warning",
        "boxes without an area",
        "The box has no width or no height, as after a slip of the mouse. It is left out.",
        "Draw it again, or delete it.",
    ),
    "GF605": Kind(
        "warning",
        "boxes that reach out of the image",
        "The box is cut at the image's edge. Many of them hint at images that were resized or cropped after labelling.",
        "Nothing, if objects are cut by the edge; else label the images as they are.",
    ),
    "GF606": Kind(
        "error",
        "boxes outside the image",
        "No part of the box lies in the image. It is left out; its label was made for another image or size.",
        "Look whether the labels belong to these images.",
    ),
    "GF607": Kind(
        "error",
        "outlines that can't be filled",
        "A polygon has fewer than three points, or run lengths don't fill the image. The object is left out.",
        "Draw it again, or delete it.",
    ),
    "GF608": Kind(
        "error",
        "objects that can't be read",
        "A number is missing, not finite, or no number. The object is left out.",
        "Mend the line, or export the labels anew.",
    ),
    "GF609": Kind(
        "warning",
        "objects without an outline",
        "Nearly all objects have an outline, these have only a box. They are neither learned nor counted as wrong.",
        "Draw their outlines, or use the boxes only: task detect.",
    ),
    "GF610": Kind(
        "error",
        "labels for another image size",
        "The label was made for an image of another size, or for the image before its EXIF rotation. It is left out of "
        "every split.",
        "Export labels and images together, and write rotated images upright.",
    ),
    "GF611": Kind(
        "error",
        "label images that can't be read",
        "The mask is damaged, no PNG or TIFF, in colours without a list of them, or needs more memory than is allowed. "
        "The image is left out of every split.",
        "Write it as an 8-bit PNG of class numbers, or give the colours in classes.txt.",
    ),
    "GF612": Kind(
        "error",
        "pixels of an unknown class",
        "The mask holds a value or colour that is no class and not to be ignored, as when it was smoothed, saved as "
        "JPEG or resized. The image is left out of every split.",
        "Add the class to classes.txt, name the value to ignore (--format masks:ignore=11), or export the mask anew.",
    ),
    "GF613": Kind(
        "info",
        "images without objects",
        "They show background only, which teaches what is none of the classes; a few are useful.",
        "Nothing, if they are background; else label them.",
    ),
    "GF614": Kind(
        "info",
        "tiny objects",
        "The object covers less than 8 x 8 pixels of the network's input, one cell of its finest map (of the image, "
        "while the input is not known); such objects are found badly.",
        "Use a larger input size, cut images into tiles, or leave them out.",
    ),
    "GF615": Kind(
        "warning",
        "objects labelled twice",
        "Two objects of one class have the same box in one image; one of two answers will be counted as missing.",
        "Delete one of each pair.",
    ),
    "GF616": Kind(
        "warning",
        "masks without a label",
        "Every pixel is to be ignored: the image teaches nothing and measures nothing.",
        "Label the image, or delete it.",
    ),
    "GF617": Kind(
        "info",
        "category ids with gaps",
        "Classes are numbered from 0 in the order of the category ids, so a class is not the id of its category.",
        "Nothing here; results name classes, use these and not numbers.",
    ),
    "GF618": Kind(
        "warning",
        "images in two lists",
        "An image is listed for two splits; it is used in one of them only.",
        "Remove it from one list.",
    ),
}

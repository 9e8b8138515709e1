"""The check finds what is wrong, and nothing else."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ghostfit.data.check import check
from ghostfit.data.duplicates import find_near, group_duplicates
from ghostfit.data.facts import measure_images
from ghostfit.data.findings import KINDS, as_markdown
from ghostfit.data.readers import read_dataset
from ghostfit.data.split import make_splits

PAIRS = {
    ("glass/glass115.jpg", "metal/metal91.jpg"),
    ("glass/glass176.jpg", "plastic/plastic152.jpg"),
    ("glass/glass389.jpg", "plastic/plastic332.jpg"),
}


def found(dataset, **options):
    report = check(dataset, in_memory=True, **options)
    assert json.loads(json.dumps(report.to_dict()))["num_images"] == len(dataset)
    assert all(finding.id in report.to_text() for finding in report.findings)
    return {finding.id: finding for finding in report.findings}


@pytest.fixture
def clean(make_folder):
    """Files of a set in which nothing is found: 2 x 20 pictures."""
    return {f"{label}/{i:02d}.png": 100 * c + i for c, label in enumerate("ab") for i in range(20)}


def test_a_clean_set_has_no_findings(make_folder, clean):
    report = check(read_dataset(make_folder(clean)), in_memory=True)
    assert report.findings == () and report.is_ok and report.num_usable == 40 and report.sizes == (("32x32", 40),)


def saved(pixels, format, mode=None, **options):
    image = Image.fromarray(pixels)
    stream = io.BytesIO()
    (image.convert(mode) if mode else image).save(stream, format, **options)
    return stream.getvalue()


def odd_file(kind, pixels):
    if kind == "GF101":
        return b"this is no image"
    if kind == "GF102":
        return saved(pixels, "JPEG", quality=95)[:-300]
    if kind == "GF103":
        return b""
    if kind == "GF201":
        exif = Image.Exif()
        exif[0x0112] = 6
        return saved(pixels, "JPEG", exif=exif)
    if kind == "GF202":
        return saved(pixels, "PNG", "L")
    if kind == "GF203":
        return saved(pixels, "JPEG", "CMYK")
    if kind == "GF204":
        return saved(pixels[:, :, 0].astype(np.uint16) * 257, "PNG")
    if kind == "GF205":
        return saved(np.dstack([pixels, pixels[:, :, 0]]), "PNG")
    if kind == "GF206":
        frames = [Image.fromarray(np.roll(pixels, i, axis=0)) for i in range(3)]
        stream = io.BytesIO()
        frames[0].save(stream, "WEBP", save_all=True, append_images=frames[1:], lossless=True)
        return stream.getvalue()
    if kind == "GF301":
        return saved(pixels[:10, :10], "PNG")
    if kind == "GF302":
        return saved(np.tile(pixels, (1, 3, 1)), "PNG")
    assert kind == "GF303"
    return saved(np.full((32, 32, 3), 200, np.uint8), "PNG")


@pytest.mark.parametrize(
    "kind",
    ["GF101", "GF102", "GF103", "GF201", "GF202", "GF203", "GF204", "GF205", "GF206", "GF301", "GF302", "GF303"],
)
def test_odd_files(make_folder, clean, picture, kind):
    dataset = read_dataset(make_folder(clean | {"a/odd.JPG": odd_file(kind, picture(9000))}))
    findings = found(dataset)
    expected = {kind, "GF202"} if kind == "GF204" else {kind}  # 16-bit is gray too
    assert set(findings) == expected
    assert findings[kind].items == ("a/odd.JPG",) and findings[kind].count == 1
    assert findings[kind].severity == KINDS[kind].severity


def test_a_file_that_vanished(make_folder, clean):
    root = make_folder(clean)
    dataset = read_dataset(root)
    (root / "a" / "03.png").unlink()
    assert found(dataset)["GF104"].items == ("a/03.png",)


def test_entries_passed_over(make_folder, clean):
    finding = found(read_dataset(make_folder(clean | {"a/notes.txt": b"x"})))["GF105"]
    assert finding.items == ("a/notes.txt",) and "1 not an image file (.txt)" in finding.detail


def test_the_form_of_a_file_may_give_the_class_away(make_folder, picture):
    files = {f"a/{i}.png": saved(picture(i), "PNG") for i in range(20)}
    files |= {f"b/{i}.jpg": saved(picture(50 + i, 40), "JPEG") for i in range(20)}
    finding = found(read_dataset(make_folder(files)))["GF304"]
    assert "alone 100% are told right; the largest class has 50%" in finding.detail


def test_classes(dataset_of, make_folder, clean):
    assert {"GF401", "GF402"} <= set(found(dataset_of([0] * 3 + [1] * 30)))
    labels = [0] * 20 + [1] * 20 + [2] * 20
    findings = found(dataset_of(labels, train=[*range(40)], test=[*range(20, 60)]))
    assert findings["GF403"].items == ("class2",) and findings["GF404"].items == ("class0",)
    renamed = {path.replace("a/", "Old_Glass/").replace("b/", "old glass/"): number for path, number in clean.items()}
    assert found(read_dataset(make_folder(renamed)))["GF405"].groups == (("Old_Glass", "old glass"),)


def test_identical_images_however_they_are_stored(make_folder, clean, picture):
    copies = {"a/copy.png": clean["a/00.png"], "b/copy.bmp": saved(picture(clean["b/05.png"]), "BMP")}
    findings = found(read_dataset(make_folder(clean | copies)))
    assert findings["GF501"].groups == (("a/00.png", "a/copy.png"), ("b/05.png", "b/copy.bmp"))
    conflicting = found(read_dataset(make_folder(clean | {"b/wrong.bmp": saved(picture(3), "BMP")}, "other")))
    assert conflicting["GF505"].groups == (("a/03.png", "b/wrong.bmp"),) and "GF501" not in conflicting


def test_copies_across_splits(make_folder, clean, picture):
    files = {f"{split}/{path}": n + 1000 * s for s, split in enumerate(("train", "test")) for path, n in clean.items()}
    files |= {"test/a/leak.png": 7, "test/b/near.jpg": saved(picture(104, 48), "JPEG", quality=80)}
    findings = found(read_dataset(make_folder(files)))
    assert findings["GF502"].groups == (("test/a/leak.png", "train/a/07.png"),)
    assert findings["GF504"].groups == (("test/b/near.jpg", "train/b/04.png"),)
    assert "Between train and test: 1" in findings["GF502"].detail
    dataset = read_dataset(make_folder(clean | {"a/copy.png": 3}, "flat"))
    facts = measure_images(dataset, in_memory=True)
    splits = make_splits(dataset, seed=0, groups=group_duplicates(facts), exclude=facts.broken())
    assert "GF502" not in found(dataset, facts=facts, splits=splits)


@pytest.mark.parametrize("change", ["jpeg", "smaller", "brighter"])
def test_near_duplicates(dataset_of, picture, change):
    arrays = [picture(number, 64) for number in range(60)]
    original = Image.fromarray(arrays[4])
    if change == "jpeg":
        copy = np.asarray(Image.open(io.BytesIO(saved(arrays[4], "JPEG", quality=60))))
    elif change == "smaller":
        copy = np.asarray(original.resize((40, 40)))
    else:
        copy = np.clip(arrays[4].astype(int) + 12, 0, 255).astype(np.uint8)
    dataset = dataset_of([0, 1] * 30 + [1], arrays=[*arrays, copy])
    facts = measure_images(dataset)
    assert facts.near == tuple(find_near(facts.table)) == ((4, 60),)
    groups = group_duplicates(facts)
    assert groups[60] == groups[4] == 4 and len(set(groups)) == 60
    assert found(dataset)["GF506"].groups == (("004", "060"),)


def test_facts_are_kept_and_damage_is_mended(flowers, tmp_path):
    (flowers / "rose" / "0.png").write_bytes(b"junk")
    first = measure_images(read_dataset(flowers), cache_dir=tmp_path)
    (file,) = tmp_path.glob("*.facts.npz")
    seen = []
    second = measure_images(read_dataset(flowers), cache_dir=tmp_path, progress=lambda *at: seen.append(at))
    assert (
        (first.table == second.table).all()
        and first.reasons == second.reasons
        and first.near == second.near
        and not seen
    )
    assert list(first.broken()) == [0]
    file.write_bytes(file.read_bytes()[:100])
    third = measure_images(read_dataset(flowers), cache_dir=tmp_path, progress=lambda *at: seen.append(at))
    assert (first.table == third.table).all() and seen == [(16, 16)]


def test_the_page_lists_every_finding():
    page = Path(__file__).parents[2] / "docs" / "checks.md"
    assert as_markdown() in page.read_text(encoding="utf-8")
    assert all(kind.meaning.endswith(".") and kind.remedy.endswith(".") for kind in KINDS.values())


@pytest.mark.slow
def test_trashnet_has_three_conflicting_pairs(real_data, tmp_path):
    report = check(read_dataset(real_data("trashnet")), cache_dir=tmp_path)
    conflicts = next(finding for finding in report.findings if finding.id == "GF505")
    assert set(conflicts.groups) == PAIRS and report.num_usable == 2527 and not report.is_ok

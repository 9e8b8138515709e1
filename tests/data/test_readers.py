"""Every format of the registry, and what can be wrong with each."""

import io
import os
import pickle
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from ghostfit.data import folder as folder_module
from ghostfit.data.cifar import unpickle_plain
from ghostfit.data.readers import READERS, read_dataset
from ghostfit.vision.prepare import read_image


def zip_of(folder: Path, target: Path) -> Path:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, Path(folder.name) / file.relative_to(folder))
    return target


def write_cifar(folder: Path, kind: str = "pickle", num_images: int = 4) -> Path:
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    for number, name in enumerate(("data_batch_1", "data_batch_2", "test_batch")):
        data = rng.integers(0, 256, (num_images, 3072), dtype=np.uint8)
        labels = [(i + number) % 2 for i in range(num_images)]
        if kind == "pickle":
            batch = {b"labels": labels, b"data": data, b"batch_label": name.encode(), b"filenames": [b"x.png"]}
            (folder / name).write_bytes(pickle.dumps(batch, protocol=2))
        else:
            rows = np.concatenate([np.array(labels, np.uint8)[:, None], data], axis=1)
            (folder / f"{name}.bin").write_bytes(rows.tobytes())
    if kind == "pickle":
        (folder / "batches.meta").write_bytes(pickle.dumps({b"label_names": [b"cat", b"dog"]}, protocol=2))
    else:
        (folder / "batches.meta.txt").write_text("cat\ndog\n")
    return folder


@pytest.fixture
def place(request, flowers, tmp_path):
    """A path with data of each format."""
    if request.param == "digits":
        return "digits"
    if request.param == "zip":
        return zip_of(flowers, tmp_path / "flowers.zip")
    if request.param == "csv":
        rows = [f"{file.relative_to(flowers)},{file.parent.name}" for file in sorted(flowers.rglob("*.png"))]
        (flowers / "list.csv").write_text("\n".join(["path,label", *rows]))
        return flowers / "list.csv"
    return write_cifar(tmp_path / "cifar") if request.param == "cifar" else flowers


CLASSIFYING = [name for name, reader in READERS.items() if "classify" in reader.tasks]  # others: test_dense_readers.py


@pytest.mark.parametrize(("format", "place"), [(name, name) for name in CLASSIFYING], indirect=["place"])
def test_contract_of_a_reader(format, place):
    dataset = read_dataset(place)
    assert dataset == read_dataset(place, format=format) or format in (
        "digits",
        "cifar",
        "zip",
    )  # arrays, handles: not ==
    assert dataset.fingerprint == read_dataset(place, format=format).fingerprint
    assert len(dataset.class_names) >= 2 and sum(dataset.class_counts.values()) == len(dataset)
    assert len({sample.id for sample in dataset.samples}) == len(dataset)
    indices = sorted(index for split in dataset.given.values() for index in split)
    assert indices == list(range(len(dataset)))
    for sample in dataset.samples[:3]:
        content = sample.source.read()
        assert read_image(content).ndim == 3
        assert sample.source.stamp() == sample.source.stamp()
        assert sample.num_bytes == (len(content) if isinstance(content, bytes) else content.size)


def test_zip_and_folder_are_the_same(flowers, tmp_path):
    plain, zipped = read_dataset(flowers), read_dataset(zip_of(flowers, tmp_path / "f.zip"))
    assert plain.class_names == zipped.class_names == ("rose", "tulip")
    assert [sample.source.read() for sample in plain.samples] == [sample.source.read() for sample in zipped.samples]
    again = pickle.loads(pickle.dumps(zipped))
    assert again.samples[0].source.read() == plain.samples[0].source.read()


@pytest.mark.parametrize("names", [("train", "val", "test"), ("Training", "validation", "testing"), ("train", "test")])
def test_split_folders(make_folder, names):
    root = make_folder({f"{split}/{label}/{i}.png": i for split in names for label in "ab" for i in range(2)})
    dataset = read_dataset(root)
    assert dataset.class_names == ("a", "b")
    expected = {folder_module.FOLDER_SPLITS[name.lower()]: 4 for name in names}
    assert {name: len(indices) for name, indices in dataset.given.items()} == expected


def test_a_class_may_be_called_train(make_folder):
    root = make_folder({f"{label}/{i}.png": i for label in ("car", "train", "plane") for i in range(2)})
    dataset = read_dataset(root)
    assert dataset.class_names == ("car", "plane", "train") and list(dataset.given) == ["all"]


def test_test_folder_without_train(make_folder):
    root = make_folder({f"test/{label}/{i}.png": i for label in "ab" for i in range(2)})
    # A single folder that holds everything says nothing: its classes are divided like any others.
    assert list(read_dataset(root).given) == ["all"]
    root = make_folder({f"{split}/{label}/1.png": 1 for split in ("test", "val") for label in "ab"}, "other")
    with pytest.raises(ValueError, match="no train images"):
        read_dataset(root)


def test_folders_that_hold_everything_are_looked_through(make_folder):
    root = make_folder({f"v1/data/{label}/{i}.png": i for label in "ab" for i in range(2)} | {"README.md": b"hello"})
    assert read_dataset(root).class_names == ("a", "b")


def test_odd_names(make_folder):
    root = make_folder(
        {
            "Rosé/IMG 1.JPG": 1,
            "Rosé/.hidden.png": 2,
            "Rosé/Thumbs.db": b"x",
            "Rosé/notes.txt": b"x",
            "Rosé/no_extension": b"x",
            "蘭/deep/er/ü.PNG": 3,
            "__MACOSX/Rosé/._1.jpg": b"x",
            ".git/a.png": 4,
            "empty/nothing.txt": b"",
            "stray.png": 5,
        }
    )
    (root / "void").mkdir()
    dataset = read_dataset(root)
    assert [sample.id for sample in dataset.samples] == ["Rosé/IMG 1.JPG", "蘭/deep/er/ü.PNG"]
    assert {entry.id for entry in dataset.skipped} == {
        "Rosé/notes.txt",
        "Rosé/no_extension",
        "empty/nothing.txt",
        "stray.png",
        "void/",
    }


def test_class_names_are_one_whatever_their_unicode_form(make_folder):
    root = make_folder({"train/caf\u00e9/1.png": 1, "train/b/1.png": 2, "test/cafe\u0301/1.png": 3, "test/b/1.png": 4})
    assert read_dataset(root).class_names == ("b", "caf\u00e9")


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="no symbolic links here")
def test_links(make_folder, flowers):
    (flowers / "rose" / "loop").symlink_to(flowers, target_is_directory=True)
    (flowers / "rose" / "gone.png").symlink_to(flowers / "nowhere.png")
    elsewhere = make_folder({f"{i}.png": 50 + i for i in range(3)}, "elsewhere")
    (flowers / "lily").symlink_to(elsewhere, target_is_directory=True)
    dataset = read_dataset(flowers)
    assert dataset.class_counts == {"lily": 3, "rose": 8, "tulip": 8}
    assert {entry.id for entry in dataset.skipped} == {"rose/loop/", "rose/gone.png"}


def test_names_that_are_no_utf8(flowers):
    try:
        Path(os.fsdecode(bytes(flowers) + b"/rose/\xff\xfe.png")).write_bytes(b"x")
    except OSError:
        pytest.skip("this file system refuses such names")
    dataset = read_dataset(flowers)
    assert len(dataset) == 17 and all(sample.id.encode() for sample in dataset.samples)
    assert dataset.fingerprint


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "no labelled images"),
        ({"a/notes.txt": b""}, "skipped 1, such as a/notes.txt"),
        ({"1.png": 1, "2.png": 2}, "not inside a class folder"),
        ({"cats/1.png": 1}, "single class 'cats'"),
    ],
)
def test_nothing_to_learn_from(make_folder, files, message):
    with pytest.raises(ValueError, match=message):
        read_dataset(make_folder(files))


def test_wrong_paths(tmp_path, make_folder):
    with pytest.raises(ValueError, match="does not exist"):
        read_dataset(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="allowed: digits"):
        read_dataset(tmp_path, format="parquet")
    with pytest.raises(ValueError, match="in no known form"):
        read_dataset(make_folder({"a.txt": b"hello"}) / "a.txt")


# ---- zip


def test_zip_members_that_leave_the_archive_or_lie(flowers, tmp_path, encoded, picture):
    path = zip_of(flowers, tmp_path / "f.zip")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("../../outside/1.png", encoded(picture(1)))
        archive.writestr("/absolute/1.png", encoded(picture(1)))
        archive.writestr("C:/windows/1.png", encoded(picture(1)))
        link = zipfile.ZipInfo("images/rose/link.png")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr("images/rose/packed.png", encoded(picture(1)), compress_type=zipfile.ZIP_BZIP2)
    dataset = read_dataset(path)
    assert len(dataset) == 16
    assert {entry.reason.split(";")[0] for entry in dataset.skipped} == {
        "its path leaves the archive",
        "a link, not a file",
        "compressed by method 12",
    }


def test_zip_bomb_is_skipped_by_its_declared_size(flowers, tmp_path, monkeypatch):
    monkeypatch.setattr(folder_module, "MAX_FILE_BYTES", 500_000)
    path = zip_of(flowers, tmp_path / "f.zip")
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images/rose/bomb.png", bytes(10**6))
    dataset = read_dataset(path)
    assert len(dataset) == 16 and "unpacks to" in dataset.skipped[0].reason


def test_zip_whose_directory_lies_about_a_size(flowers, tmp_path):
    path = zip_of(flowers, tmp_path / "f.zip")
    dataset = read_dataset(path)
    source = dataset.samples[0].source
    source.member.file_size = 10  # the data unpacks to more
    with pytest.raises(ValueError, match="size or checksum"):
        source.read()


def test_damaged_zips(flowers, tmp_path):
    path = zip_of(flowers, tmp_path / "f.zip")
    content = bytearray(path.read_bytes())
    (tmp_path / "cut.zip").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="no readable zip"):
        read_dataset(tmp_path / "cut.zip")
    content[200:260] = bytes(60)  # inside the first member
    path.write_bytes(content)
    with pytest.raises(ValueError, match="damaged in the archive"):
        read_dataset(path).samples[0].source.read()


# ---- csv


def test_csv_lines_that_are_no_samples(flowers):
    lines = [
        "Image;Class;Split",
        "rose/0.png;rose;train",
        "tulip/0.png;tulip;train",
        "tulip/1.png;tulip;valid",
        "rose/1.png;;train",
        ";rose;train",
        "rose/99.png;rose;train",
        "../outside.png;rose;train",
        "/etc/passwd;rose;train",
        "rose/2.png;rose;holiday",
        "rose/3.png",
        "",
        "rose/0.png;rose;train",
        "rose/0.png;tulip;train",
    ]
    (flowers / "list.csv").write_bytes(b"\xef\xbb\xbf" + "\n".join(lines).encode())
    dataset = read_dataset(flowers / "list.csv")
    assert [(s.id, s.label) for s in dataset.samples] == [
        ("rose/0.png", 0),
        ("rose/0.png (line 14)", 1),
        ("tulip/0.png", 1),
        ("tulip/1.png", 1),
    ]
    assert {name: len(indices) for name, indices in dataset.given.items()} == {"train": 3, "val": 1}
    reasons = " | ".join(entry.reason for entry in dataset.skipped)
    for reason in (
        "no label",
        "no path",
        "file not found",
        "leaves the folder",
        "unknown split",
        "1 columns",
        "same label",
    ):
        assert reason in reasons
    assert len(dataset.skipped) == 8


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"a,b\nrose/0.png,rose\n", "one must be named path"),
        (b"path,colour\nrose/0.png,rose\n", "one must be named label"),
        (b"path,label\n", "no labelled images"),
        (b"path,label\nrose/0.png,rose\n", "single class"),
        (b"\xff\xfe\x00p", "not UTF-8"),
        (b'path,label\n"' + b"x" * 200_000 + b'",rose\n', "no readable CSV"),
    ],
)
def test_wrong_csv(flowers, content, message):
    (flowers / "list.csv").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_dataset(flowers / "list.csv")


# ---- CIFAR


@pytest.mark.parametrize("kind", ["pickle", "binary"])
def test_cifar_forms_agree(tmp_path, kind):
    dataset = read_dataset(write_cifar(tmp_path / kind, kind))
    reference = read_dataset(write_cifar(tmp_path / "reference"))
    assert dataset.class_names == ("cat", "dog")
    assert {name: len(indices) for name, indices in dataset.given.items()} == {"train": 8, "test": 4}
    assert dataset.labels.tolist() == reference.labels.tolist()
    for sample, other in zip(dataset.samples, reference.samples, strict=True):
        assert np.array_equal(sample.source.read(), other.source.read())


def test_cifar_100_reads_fine_labels(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("train", "test"):
        data = rng.integers(0, 256, (3, 3072), dtype=np.uint8)
        batch = {b"coarse_labels": [0, 0, 0], b"fine_labels": [0, 1, 2], b"data": data}
        (tmp_path / name).write_bytes(pickle.dumps(batch, protocol=2))
    (tmp_path / "meta").write_bytes(pickle.dumps({b"fine_label_names": [b"apple", b"baby", b"bear"]}, protocol=2))
    assert read_dataset(tmp_path).class_names == ("apple", "baby", "bear")


def test_cifar_in_its_archive(tmp_path):
    folder = write_cifar(tmp_path / "cifar-10-batches-py")
    path = tmp_path / "cifar-10-python.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        archive.add(folder, "cifar-10-batches-py")
        evil = tarfile.TarInfo("../../evil")
        archive.addfile(evil, io.BytesIO(b""))
    assert len(read_dataset(path)) == 12
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ValueError, match="no readable archive"):
        read_dataset(path)


class _Evil:
    def __reduce__(self):
        return os.system, ("touch /nowhere/at/all",)


def test_a_pickle_never_runs(tmp_path):
    folder = write_cifar(tmp_path / "cifar")
    (folder / "data_batch_2").write_bytes(pickle.dumps({b"labels": [0], b"data": _Evil()}))
    with pytest.raises(ValueError, match=r"data_batch_2.*asks for .*system.*refused"):
        read_dataset(folder)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x80\x02",
        b"cos\nsystem\n(S'x'\ntR.",
        pickle.dumps(np.zeros(3, np.float64)),
        pickle.dumps({1: 2})[:-3],
        b"junk",
    ],
)
def test_other_pickles_are_refused(content):
    with pytest.raises(ValueError):  # noqa: PT011 - many texts
        unpickle_plain(content)


def test_damaged_cifar(tmp_path):
    folder = write_cifar(tmp_path / "cifar", "binary")
    file = folder / "data_batch_1.bin"
    file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(ValueError, match="truncated"):
        read_dataset(folder)
    file.write_bytes(struct.pack("B", 1))
    with pytest.raises(ValueError, match="truncated"):
        read_dataset(folder)
    folder = write_cifar(tmp_path / "wrong")
    (folder / "data_batch_1").write_bytes(pickle.dumps({b"labels": [0, 1], b"data": np.zeros((2, 5), np.uint8)}))
    with pytest.raises(ValueError, match="expected"):
        read_dataset(folder)

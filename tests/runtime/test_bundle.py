"""A bundle is what was written, or it is refused."""

import io
import json
import os
import shutil
import stat
import zipfile
from pathlib import Path

import numpy as np
import pytest

from ghostfit.runtime import bundle as bundle_module
from ghostfit.runtime.bundle import BundleError, open_bundle, update_manifest, write_bundle
from ghostfit.runtime.manifest import Manifest


def rewrite(path: Path, change) -> None:
    """Change the files of a bundle, folder or zip, behind its back: `change` gets and edits {name: bytes}."""
    if path.is_dir():
        files = {file.name: file.read_bytes() for file in path.iterdir()}
        shutil.rmtree(path)
        path.mkdir()
        change(files)
        for name, content in files.items():
            (path / name).write_bytes(content)
        return
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    change(files)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)


def edit_manifest(path: Path, **changes: object) -> None:
    def change(files: dict[str, bytes]) -> None:
        files["manifest.json"] = json.dumps({**json.loads(files["manifest.json"]), **changes}).encode()

    rewrite(path, change)


def test_what_was_written_is_read(bundle_path, network, new_manifest):
    bundle = open_bundle(bundle_path)
    assert bundle.network == bundle.read("model.onnx") == network
    assert bundle.manifest.class_names == ("ant", "bee", "cat")
    assert bundle.manifest.prepare.to_dict()["crop_pct"] == new_manifest()["prepare"]["crop_pct"]
    assert bundle.manifest.input["shape"] == [1, 3, 8, 8]
    assert bundle.manifest.versions["numpy"] == np.__version__
    assert Manifest.from_json(bundle.manifest.to_json().encode()) == bundle.manifest
    with pytest.raises(BundleError, match=r"model\.onnx"):
        bundle.read("other.onnx")


def test_a_repacked_zip_is_as_good(bundle_path):
    rewrite(bundle_path, lambda files: None)  # a zip tool packs with deflate and other dates
    open_bundle(bundle_path)


def test_the_manifest_can_be_updated(bundle_path, network):
    update_manifest(bundle_path, latency=[{"median_ms": 1.5, "threads": 1}], metrics={"accuracy": 0.9})
    bundle = open_bundle(bundle_path)
    assert bundle.manifest.latency[0]["median_ms"] == 1.5
    assert bundle.manifest.metrics == {"accuracy": 0.9}
    assert bundle.network == network
    with pytest.raises(ValueError, match="files can't be changed"):
        update_manifest(bundle_path, files={})
    with pytest.raises(ValueError, match="unknown entry speed"):
        update_manifest(bundle_path, speed=1)
    assert open_bundle(bundle_path).manifest == bundle.manifest


def test_a_bundle_is_replaced_and_other_folders_are_not(bundle_path, new_network, new_manifest, tmp_path):
    other = new_network(seed=1)
    write_bundle(bundle_path, new_manifest(), {"model.onnx": other})
    assert open_bundle(bundle_path).network == other
    assert [path.name for path in tmp_path.iterdir()] == [bundle_path.name]
    mine = tmp_path / "photos"
    mine.mkdir()
    (mine / "a.jpg").write_bytes(b"x")
    with pytest.raises(ValueError, match="is no bundle"):
        write_bundle(mine, new_manifest(), {"model.onnx": other})
    assert (mine / "a.jpg").is_file()


def flip_a_byte(files):
    content = bytearray(files["model.onnx"])
    content[len(content) // 2] ^= 1
    files["model.onnx"] = bytes(content)


DAMAGES = {
    "tampered": (flip_a_byte, "not the file that was written"),
    "shortened": (lambda files: files.update({"model.onnx": files["model.onnx"][:-1]}), "not the file that was"),
    "missing file": (lambda files: files.pop("model.onnx"), "'model.onnx' is missing"),
    "missing manifest": (lambda files: files.pop("manifest.json"), "not a bundle"),
    "extra data": (lambda files: files.update({"more.txt": b"x"}), "'more.txt' is not listed"),
    "extra code": (lambda files: files.update({"custom.py": b"print()"}), "'custom.py' is no file for a bundle"),
    "pickle": (lambda files: files.update({"weights.pt": b"x"}), "no file for a bundle"),
    "broken json": (lambda files: files.update({"manifest.json": b'{"schema": '}), "not JSON"),
    "binary json": (lambda files: files.update({"manifest.json": b"\xff\xfe\0"}), "not JSON"),
    "deep json": (lambda files: files.update({"manifest.json": b"[" * 200_000}), "manifest.json"),
    "json list": (lambda files: files.update({"manifest.json": b"[]"}), "must be a JSON object"),
    "not a number": (lambda files: files.update({"manifest.json": b'{"metrics": NaN}'}), "NaN"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_bundles_are_refused(bundle_path, name):
    change, message = DAMAGES[name]
    rewrite(bundle_path, change)
    with pytest.raises(BundleError, match=message) as caught:
        open_bundle(bundle_path)
    assert str(bundle_path) in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": "ghostfit.bundle/99"}, "ghostfit.bundle/99"),
        ({"schema": None}, "schema None"),
        ({"task": "detect"}, "task 'detect'"),
        ({"files": {}}, "not listed"),
        ({"files": {"model.onnx": {"bytes": 3}}}, "no valid 'sha256'"),
        ({"files": {"model.onnx": {"bytes": 3, "sha256": "0"}}}, "no valid 'sha256'"),
        ({"files": {"model.onnx": {"bytes": 3, "sha256": "0" * 64}}}, "not the file that was written"),
        ({"files": {"../../etc/passwd.txt": {"bytes": 3, "sha256": "0" * 64}}}, "missing"),
        ({"network": "../model.onnx"}, "not among the files"),
        ({"network": "/etc/hostname"}, "not among the files"),
        ({"class_names": []}, "class_names"),
        ({"class_names": "abc"}, "class_names"),
        ({"class_names": [1, 2, 3]}, "class_names"),
        ({"prepare": {"size_hw": [10**6, 10**6]}}, "at most"),
        ({"prepare": {"size_hw": [8, 8], "hook": "os.system"}}, "hook"),
        ({"input": {"shape": [1, 3, 99, 99]}}, "input shape"),
        ({"input": {"dtype": "uint8"}}, "dtype"),
        ({"decode": {"kind": "eval"}}, "decode kind"),
        ({"decode": {"temperature": -1}}, "temperature"),
        ({"decode": {"temperature": "1"}}, "a number above 0"),
        ({"decode": {"code": "x"}}, "decode"),
        ({"hook": "x"}, "unknown entry hook"),
        ({"latency": [3]}, "latency"),
    ],
)
def test_wrong_manifests_are_refused(bundle_path, changes, message):
    edit_manifest(bundle_path, **changes)
    with pytest.raises(BundleError, match=message):
        open_bundle(bundle_path)


def test_a_manifest_of_a_missing_entry_is_refused(bundle_path):
    def change(files):
        manifest = json.loads(files["manifest.json"])
        del manifest["prepare"]
        files["manifest.json"] = json.dumps(manifest).encode()

    rewrite(bundle_path, change)
    with pytest.raises(BundleError, match="'prepare' is missing"):
        open_bundle(bundle_path)


@pytest.fixture
def zipped(tmp_path, network, new_manifest) -> Path:
    return write_bundle(tmp_path / "model.ghost", new_manifest(), {"model.onnx": network})


@pytest.fixture
def folder(tmp_path, network, new_manifest) -> Path:
    return write_bundle(tmp_path / "model", new_manifest(), {"model.onnx": network})


def test_a_zip_truncated_anywhere_is_refused(zipped):
    content = zipped.read_bytes()
    for length in (0, 1, 30, len(content) // 2, len(content) - 30, len(content) - 1):
        zipped.write_bytes(content[:length])
        with pytest.raises(BundleError, match="truncated"):
            open_bundle(zipped)


def test_flipped_bytes_never_give_another_network(zipped, network):
    content = zipped.read_bytes()
    random = np.random.default_rng(0)
    for place in random.integers(0, len(content), 150):
        damaged = bytearray(content)
        damaged[place] ^= 1 << int(random.integers(0, 8))
        zipped.write_bytes(damaged)
        try:
            opened = open_bundle(zipped)
        except BundleError:
            continue
        assert opened.network == network  # the flip fell into padding, a date or a text of the manifest


def append(path: Path, entry: zipfile.ZipInfo | str, content: bytes = b"x") -> None:
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(entry, content)


@pytest.mark.parametrize(
    "name",
    ["../evil.txt", "a/../../evil.txt", "/etc/evil.txt", "C:\\evil.txt", "..\\evil.txt", "./evil.txt", "a/./../b.txt"],
)
def test_names_that_leave_the_zip_are_refused(zipped, name):
    append(zipped, name)
    with pytest.raises(BundleError, match="points outside the bundle"):
        open_bundle(zipped)


def test_links_and_devices_in_a_zip_are_refused(zipped):
    for kind in (stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO):
        copy = zipped.with_name("copy.ghost")
        shutil.copy(zipped, copy)
        entry = zipfile.ZipInfo("link.txt")
        entry.external_attr = (kind | 0o777) << 16
        append(copy, entry, b"/etc/passwd")
        with pytest.raises(BundleError, match="link or device"):
            open_bundle(copy)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_files_of_one_name_are_refused(zipped):
    append(zipped, "model.onnx", b"other")
    with pytest.raises(BundleError, match="two files of one name"):
        open_bundle(zipped)


def test_huge_sizes_are_refused_before_they_are_read(zipped, monkeypatch):
    """A zip bomb: a megabyte of zeros packs to a kilobyte; the bound is lowered to see it refused."""
    monkeypatch.setattr(bundle_module, "MAX_FILE_BYTES", 100_000)
    with zipfile.ZipFile(zipped, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros.bin", bytes(1 << 20))
    with pytest.raises(BundleError, match=r"'zeros\.bin' would be 1,048,576 bytes"):
        open_bundle(zipped)
    monkeypatch.setattr(bundle_module, "MAX_FILE_BYTES", 1 << 30)
    monkeypatch.setattr(bundle_module, "MAX_BUNDLE_BYTES", 100_000)
    with pytest.raises(BundleError, match="the files would be"):
        open_bundle(zipped)


def test_a_size_that_the_zip_lies_about_is_refused(zipped, monkeypatch):
    """The central directory says 10 bytes, the packed data are a megabyte: only ten and one are ever unpacked."""
    with zipfile.ZipFile(zipped, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros.bin", bytes(1 << 20))
    content = zipped.read_bytes()
    assert content.count((1 << 20).to_bytes(4, "little")) == 2
    zipped.write_bytes(content.replace((1 << 20).to_bytes(4, "little"), (10).to_bytes(4, "little")))
    with pytest.raises(BundleError):
        open_bundle(zipped)


def test_too_many_files_are_refused(zipped):
    with zipfile.ZipFile(zipped, "a") as archive:
        for number in range(100):
            archive.writestr(f"{number}.txt", b"")
    with pytest.raises(BundleError, match="more than 64 files"):
        open_bundle(zipped)


def test_an_encrypted_file_is_refused(zipped):
    content = bytearray(zipped.read_bytes())
    for signature, offset in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):  # the flags, in both of a file's headers
        place = content.find(signature)
        content[place + offset] |= 1
    zipped.write_bytes(content)
    with pytest.raises(BundleError, match="encrypted"):
        open_bundle(zipped)


@pytest.mark.parametrize("target", ["file", "folder", "network", "nowhere"])
def test_links_in_a_folder_are_refused(folder, tmp_path, target):
    secret = tmp_path / "secret.txt"
    secret.write_text("x")
    if target == "network":  # the right content, but elsewhere
        (folder / "model.onnx").rename(tmp_path / "real.onnx")
        (folder / "model.onnx").symlink_to(tmp_path / "real.onnx")
    else:
        (folder / "link.txt").symlink_to({"file": secret, "folder": tmp_path, "nowhere": tmp_path / "none"}[target])
    with pytest.raises(BundleError, match="is a link"):
        open_bundle(folder)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_in_a_folder_is_refused(folder):
    os.mkfifo(folder / "pipe.txt")
    with pytest.raises(BundleError, match="not a plain file"):
        open_bundle(folder)


def test_hidden_files_of_a_folder_are_not_read(folder):
    (folder / ".DS_Store").write_bytes(b"x")
    (folder / ".manifest.json.123.partial").write_bytes(b"{")
    (folder / ".cache").mkdir()
    (folder / ".cache" / "evil.py").write_bytes(b"x")
    assert set(open_bundle(folder).contents) == {"model.onnx"}


def test_things_that_are_no_bundle_are_refused(tmp_path):
    with pytest.raises(BundleError, match="no such bundle"):
        open_bundle(tmp_path / "none.ghost")
    with pytest.raises(BundleError, match=r"no manifest\.json"):
        open_bundle(tmp_path)
    text = tmp_path / "text.ghost"
    text.write_text("hello " * 100)
    with pytest.raises(BundleError, match="not a bundle"):
        open_bundle(text)
    empty = io.BytesIO()
    zipfile.ZipFile(empty, "w").close()
    text.write_bytes(empty.getvalue())
    with pytest.raises(BundleError, match="not a bundle"):
        open_bundle(text)


@pytest.mark.parametrize(
    ("files", "changes", "message"),
    [
        ({"../model.onnx": b""}, {"network": "../model.onnx"}, "points outside"),
        ({"model.pkl": b""}, {"network": "model.pkl"}, "no file for a bundle"),
        ({}, {}, "not among the files"),
        ({"model.onnx": b""}, {"class_names": []}, "class_names"),
        ({"model.onnx": b"PK hello"}, {}, "ONNX"),
    ],
)
def test_what_would_be_refused_is_not_written(tmp_path, new_manifest, files, changes, message):
    with pytest.raises(ValueError, match=message):
        write_bundle(tmp_path / "model.ghost", new_manifest(**changes), files)
    assert not list(tmp_path.iterdir())


KILL = """
import os, sys
from pathlib import Path
from ghostfit.runtime.bundle import update_manifest, write_bundle
def killed(*_):
    os._exit(9)  # as kill -9: nothing is cleaned up
def rename(self, target):
    if str(target).endswith((".ghost", "model", "manifest.json")):
        killed()
    return os.rename(self, target)
Path.replace = Path.rename = rename
path, network, verb = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
if verb == "update":
    update_manifest(path, metrics={"accuracy": 1.0})
else:
    write_bundle(path, {"class_names": ["x", "y", "z"], "prepare": {"size_hw": [8, 8]}}, {"model.onnx": network})
"""


@pytest.mark.parametrize("verb", ["update", "write"])
@pytest.mark.parametrize("name", ["model.ghost", "model"])
def test_a_kill_before_the_rename_leaves_what_was_there(
    tmp_path, new_manifest, new_network, network, name, verb, run_python
):
    if (name, verb) == ("model", "write"):
        path = tmp_path / name  # a new folder: none is there before
    else:
        path = write_bundle(tmp_path / name, new_manifest(), {"model.onnx": network})
    other = tmp_path / "other.onnx"
    other.write_bytes(new_network(seed=1))
    done = run_python(KILL, path, other, verb)
    assert done.returncode == 9, done.stderr
    if (name, verb) == ("model", "write"):
        assert not path.exists()
    else:
        assert open_bundle(path).network == network
        assert open_bundle(path).manifest.metrics == {}
    write_bundle(path, new_manifest(), {"model.onnx": other})  # the next one is not hindered by what the kill left
    assert open_bundle(path).network == other.read_bytes()


def test_a_full_disk_leaves_the_old_bundle(bundle_path, network, new_manifest, monkeypatch, tmp_path):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        write_bundle(bundle_path, new_manifest(), {"model.onnx": b""})
    assert open_bundle(bundle_path).network == network
    assert [path.name for path in tmp_path.iterdir()] == [bundle_path.name]

"""From files to results, good and bad ones."""

import numpy as np
import pytest
from PIL import Image

from ghostfit.runtime.backends import installed_backends
from ghostfit.runtime.bundle import BundleError, update_manifest, write_bundle
from ghostfit.runtime.predict import find_images, load, predict_many
from ghostfit.vision.decode import decode_classification
from ghostfit.vision.prepare import ImageError, prepare_batch, read_image
from ghostfit.vision.results import Classification

RANDOM = np.random.default_rng(0)
PHOTOS = [RANDOM.integers(0, 256, (int(h), int(w), 3), np.uint8) for h, w in RANDOM.integers(5, 40, (7, 2))]


@pytest.fixture
def folder(tmp_path):
    """Seven photos in two folders, a text, and two images that can't be read."""
    photos = tmp_path / "photos"
    (photos / "more").mkdir(parents=True)
    for number, pixels in enumerate(PHOTOS):
        Image.fromarray(pixels).save(photos / ("more" if number > 4 else "") / f"{number}.png")
    (photos / "readme.txt").write_text("x")
    (photos / "3-corrupt.JPG").write_bytes(b"not a photo")
    (photos / "4-truncated.png").write_bytes((photos / "0.png").read_bytes()[:60])
    return photos


@pytest.mark.parametrize("runtime", installed_backends())
def test_a_model_does_what_its_parts_do(bundle_path, runtime):
    model = load(bundle_path, runtime=runtime, threads=1)
    batch = prepare_batch([read_image(photo) for photo in PHOTOS], model.manifest.prepare)
    logits = np.concatenate([model.backend.run(batch[i : i + 1])["logits"] for i in range(len(batch))])
    expected = decode_classification(logits, class_names=["ant", "bee", "cat"], temperature=1.5, threshold=0.4)
    results = model(PHOTOS)
    assert [result.to_dict() for result in results] == [result.to_dict() for result in expected]
    assert model(PHOTOS[2]).to_dict() == expected[2].to_dict()
    assert model([]) == []


def test_every_source_gives_the_same(bundle_path, folder):
    model = load(bundle_path)
    path = folder / "1.png"
    sources = [path, str(path), path.read_bytes(), PHOTOS[1], Image.fromarray(PHOTOS[1])]
    assert len({model(source).confidence for source in sources}) == 1
    assert {result.confidence for result in model(tuple(sources))} == {model(path).confidence}


@pytest.mark.parametrize("batch", [1, "N"])
def test_open_and_fixed_batches_agree(tmp_path, new_network, new_manifest, batch):
    network = new_network(batch=batch)
    shape = {"input": {"shape": [batch, 3, 8, 8]}}
    path = write_bundle(tmp_path / "model.ghost", new_manifest(**shape), {"model.onnx": network})
    model = load(path)
    one_by_one = np.concatenate([model.logits([model.pixels(photo)]) for photo in PHOTOS])
    np.testing.assert_allclose(model.logits([model.pixels(photo) for photo in PHOTOS]), one_by_one, atol=1e-5)


@pytest.mark.parametrize("batch", [1, 2, 3, 100])
def test_bad_files_are_told_and_do_not_stop_the_others(bundle_path, folder, batch):
    model = load(bundle_path)
    results = dict(predict_many(model, folder, batch=batch))
    assert list(results) == find_images(folder)
    bad = {path.name for path, result in results.items() if isinstance(result, ImageError)}
    assert bad == {"3-corrupt.JPG", "4-truncated.png"}
    assert sum(isinstance(result, Classification) for result in results.values()) == 7
    assert results[folder / "2.png"].to_dict() == model(PHOTOS[2]).to_dict()
    assert results[folder / "more" / "6.png"].to_dict() == model(PHOTOS[6]).to_dict()


def test_only_bad_files_are_fine_too(bundle_path, folder):
    results = list(predict_many(load(bundle_path), [folder / "3-corrupt.JPG", folder / "readme.txt"]))
    assert all(isinstance(result, ImageError) for _, result in results)


def test_stopping_early_ends_the_readers(bundle_path, folder):
    stream = predict_many(load(bundle_path), folder, batch=1)
    next(stream)
    stream.close()


def test_inputs_are_files_folders_and_patterns(folder):
    assert [path.name for path in find_images(folder / "1.png")] == ["1.png"]
    assert [path.name for path in find_images(str(folder / "[12].png"))] == ["1.png", "2.png"]
    assert len(find_images(str(folder / "**" / "*.png"))) == 8
    assert len(find_images(folder)) == 9
    assert len(find_images([folder, folder / "1.png", str(folder / "*.png")])) == 9  # each once
    assert find_images(folder / "readme.txt") == [folder / "readme.txt"]  # named, so tried


def test_inputs_that_name_nothing_are_refused(bundle_path, tmp_path):
    (tmp_path / "empty").mkdir()
    for given, message in [
        (tmp_path / "none.jpg", "no such file or folder"),
        (tmp_path / "empty", "no images there"),
        (str(tmp_path / "*.webp"), "no images there"),
        ([], "no images given"),
    ]:
        with pytest.raises(ValueError, match=message):
            predict_many(load(bundle_path), given)


def test_a_single_bad_image_raises(bundle_path, folder):
    with pytest.raises(ImageError, match=r"3-corrupt\.JPG"):
        load(bundle_path)(folder / "3-corrupt.JPG")


def test_a_run_folder_stands_for_its_bundle(tmp_path, network, new_manifest):
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(BundleError, match=r"model\.ghost: no such bundle"):
        load(tmp_path)
    write_bundle(tmp_path / "model.ghost", new_manifest(), {"model.onnx": network})
    assert load(tmp_path)(PHOTOS[0]).label in {"ant", "bee", "cat"}


def test_threads_are_those_that_were_measured(bundle_path):
    assert load(bundle_path).backend.threads == 1
    update_manifest(bundle_path, latency=[{"threads": 2, "median_ms": 1.0}])
    assert load(bundle_path).backend.threads in (1, 2)
    assert load(bundle_path, threads=1).backend.threads == 1
    update_manifest(bundle_path, latency=[{"threads": "many"}])
    assert load(bundle_path).backend.threads == 1


@pytest.mark.parametrize(
    ("changes", "network_changes", "message"),
    [
        ({}, {"num_classes": 4}, "gives \\(1, 4\\), its manifest names 3"),
        ({}, {"size_hw": (9, 9)}, "does not fit its manifest"),
        ({"outputs": ["scores"]}, {}, "does not fit its manifest"),
        ({"prepare": {"size_hw": [8, 8], "in_channels": 1, "mean": [0.5], "std": [0.5]}}, {}, "does not fit"),
    ],
)
def test_networks_that_do_not_fit_their_manifest_are_refused(
    tmp_path, new_network, new_manifest, changes, network_changes, message
):
    files = {"model.onnx": new_network(**network_changes)}
    path = write_bundle(tmp_path / "model.ghost", new_manifest(**changes), files)
    with pytest.raises(BundleError, match=message):
        load(path)


def test_outputs_that_are_not_finite_are_refused(tmp_path, network, new_manifest):
    onnx = pytest.importorskip("onnx")
    model = onnx.load_from_string(network)
    bias = next(entry for entry in model.graph.initializer if entry.name == "head.bias")
    bias.CopyFrom(onnx.numpy_helper.from_array(np.full(3, np.nan, np.float32), "head.bias"))
    path = write_bundle(tmp_path / "model.ghost", new_manifest(), {"model.onnx": model.SerializeToString()})
    with pytest.raises(ValueError, match="not finite"):
        load(path)(PHOTOS[0])

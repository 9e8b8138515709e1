"""The last phases of a run: a certified export, the test of the shipped file, and its latency beside the presets."""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from ghostfit.event import Event, OnEvent
from ghostfit.presets import list_presets, preset
from ghostfit.run import Run
from ghostfit.runtime.bench import measure_interleaved
from ghostfit.runtime.bundle import open_bundle, update_manifest
from ghostfit.runtime.predict import load
from ghostfit.runtime.profile import measure_blocks
from ghostfit.runtime.score import collect_logits
from ghostfit.verbs.material import Material
from ghostfit.vision.calibrate import choose_threshold, fit_temperature
from ghostfit.vision.decode import softmax
from ghostfit.vision.metrics import classification_report

if TYPE_CHECKING:
    from ghostfit.nn.build import Network

BUNDLE = "model.ghost"
NUM_PARITY_IMAGES = 32
NUM_MISTAKES = 24
THUMBNAIL = 96  # pixels
FOUND = "found"


def ship(run: Run, network: Network, material: Material, on_event: OnEvent) -> Path:
    """Phase ``export``: calibrate on the validation split, write the bundle, certify it on real images."""
    path = run.file(BUNDLE)
    if run.is_done("export") and path.exists():
        return path
    from ghostfit.export.export import export
    from ghostfit.train.evaluate import evaluate
    from ghostfit.verbs.latencies import form_of

    began = time.perf_counter()
    on_event(Event("export", "start", "writing the bundle"))
    logits, labels = evaluate(network, material.evaluating(["val"]))
    network = network.cpu()  # what the file is compared with
    temperature = fit_temperature(logits, labels)
    threshold = choose_threshold(softmax(logits, temperature), labels)
    val = classification_report(
        logits, labels, material.dataset.class_names, temperature=temperature, threshold=threshold
    )
    chosen = material.indices(["val"])[:NUM_PARITY_IMAGES]
    config = run.read_json("run.json")["config"]
    export(
        network,
        path,
        class_names=material.dataset.class_names,
        prepare=material.prepare,
        temperature=temperature,
        threshold=threshold,
        images=[material.cached.images[index] for index in chosen],
        runtime=config.get("runtime", "onnxruntime"),
        threads=config.get("threads", 1),
        lowering=form_of(run) or "auto",
        metrics={"val": {name: val[name] for name in ("accuracy", "standard_error", "loss", "ece", "num_images")}},
        trained={"data": material.dataset.name, "splits": material.splits.counts(), "seed": config["seed"]},
    )
    run.finish("export", seconds=_since(began), temperature=temperature, threshold=threshold)
    on_event(Event("export", "done", str(path)))
    return path


def score_test_split(run: Run, bundle: Path, material: Material, on_event: OnEvent) -> dict[str, Any]:
    """Phase ``test``: the shipped file on the test split, read here for the only time; kept in ``test.json``."""
    if run.is_done("test"):
        return dict(run.read_json("test.json"))
    began = time.perf_counter()
    indices = material.indices(["test"])
    on_event(Event("test", "start", f"{len(indices)} images that nothing was chosen by"))
    config = run.read_json("run.json")["config"]
    model = load(bundle, runtime=config.get("runtime", "onnxruntime"))
    samples = [material.dataset.samples[index] for index in indices]
    logits, labels, skipped = collect_logits(model, ((content_of(sample), sample.label) for sample in samples))
    lost = {entry["index"] for entry in skipped}
    samples = [sample for number, sample in enumerate(samples) if number not in lost]
    rule = model.manifest.decode
    report = classification_report(
        logits, labels, model.manifest.class_names, temperature=rule.temperature, threshold=rule.threshold
    )
    report["mistakes"] = _mistakes(samples, logits, labels, model, rule.temperature)
    run.write_json("test.json", report)
    update_manifest(bundle, metrics={**model.manifest.metrics, "test": summary_of(report)})
    run.finish("test", seconds=_since(began), num_images=len(labels))
    on_event(Event("test", "done", f"{100 * report['accuracy']:.1f} %"))
    return report


def content_of(sample: Any) -> Any:
    """The image of a sample; empty bytes, which count as an image that can't be read, where it has vanished."""
    try:
        return sample.source.read()
    except (OSError, ValueError):
        return b""


def summary_of(report: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of a classification report that a manifest keeps."""
    names = ("accuracy", "standard_error", "balanced_accuracy", "loss", "ece", "num_images")
    return {name: report[name] for name in names}


def bench_bundle(run: Run, bundle: Path, runtime: str, threads: int, on_event: OnEvent) -> dict[str, Any]:
    """Phase ``bench``: latency of the shipped file beside the presets, in turns; and its time by block."""
    if run.is_done("bench"):
        return dict(run.read_json("bench.json")["rows"][0])
    from ghostfit.export.lower import DEFAULT_LOWERING
    from ghostfit.verbs.latencies import export_fresh, form_of

    began = time.perf_counter()
    on_event(Event("bench", "start", "measuring beside the presets"))
    opened = open_bundle(bundle)
    shape = (1, opened.manifest.prepare.in_channels, *opened.manifest.prepare.size_hw)
    models: dict[str, bytes] = {FOUND: opened.network}
    for name in list_presets():
        arch = preset(name, len(opened.manifest.class_names), (shape[2], shape[3]), shape[1])
        models[name] = export_fresh(arch, form_of(run) or DEFAULT_LOWERING)
    measured = measure_interleaved(models, shape, runtime=runtime, threads=threads, budget_s=0.4)
    rows = [{"name": name, **latency.to_dict()} for name, latency in measured.items()]
    run.write_json("bench.json", {"rows": rows})
    if runtime == "onnxruntime":
        blocks = measure_blocks(opened.network, shape, threads=threads)
        run.write_json("block_time.json", [block.to_dict() for block in blocks])
    update_manifest(bundle, latency=[measured[FOUND].to_dict()])
    run.finish("bench", seconds=_since(began))
    on_event(Event("bench", "done", f"{measured[FOUND].median_ms:.3f} ms"))
    return rows[0]


def _since(began: float) -> float:
    return round(time.perf_counter() - began, 1)


def _mistakes(
    samples: list[Any], logits: np.ndarray, labels: np.ndarray, model: Any, temperature: float
) -> list[dict[str, Any]]:
    """The most confident wrong answers, with small pictures."""
    probabilities = softmax(logits, temperature)
    predicted = probabilities.argmax(axis=1)
    wrong = np.flatnonzero(predicted != labels)
    wrong = wrong[np.argsort(-probabilities[wrong, predicted[wrong]], kind="stable")][:NUM_MISTAKES]
    names = model.manifest.class_names
    return [
        {
            "id": samples[i].id,
            "truth": names[labels[i]],
            "predicted": names[predicted[i]],
            "confidence": float(probabilities[i, predicted[i]]),
            "thumbnail_jpeg_base64": _thumbnail(samples[i]),
        }
        for i in wrong
    ]


def _thumbnail(sample: Any) -> str:
    from ghostfit.vision.prepare import read_image

    image = Image.fromarray(read_image(sample.source.read()))
    if max(image.size) < THUMBNAIL:
        factor = THUMBNAIL / max(image.size)
        image = image.resize((round(image.width * factor), round(image.height * factor)), Image.Resampling.NEAREST)
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=80)
    return base64.b64encode(buffer.getvalue()).decode()

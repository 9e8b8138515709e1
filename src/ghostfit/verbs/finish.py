"""The last phases of a run: a certified export, the test of the shipped file, and its latency beside the presets."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ghostfit.event import Event, OnEvent
from ghostfit.presets import list_presets, preset
from ghostfit.run import Run
from ghostfit.runtime.bench import measure_interleaved
from ghostfit.runtime.bundle import open_bundle, update_manifest
from ghostfit.runtime.predict import load
from ghostfit.runtime.profile import measure_blocks
from ghostfit.verbs.kinds import kind_of, main_figure, summary_of
from ghostfit.verbs.material import Material
from ghostfit.verbs.outset import arch_for

if TYPE_CHECKING:
    from ghostfit.nn.build import Network

BUNDLE = "model.ghost"
NUM_PARITY_IMAGES = 32
FOUND = "found"


def ship(run: Run, network: Network, material: Material, on_event: OnEvent) -> Path:
    """Phase ``export``: choose how to decode on the validation split, write the bundle, certify it on real images."""
    path = run.file(BUNDLE)
    if run.is_done("export") and path.exists():
        return path
    from ghostfit.export.export import export
    from ghostfit.verbs.latencies import form_of

    began = time.perf_counter()
    on_event(Event("export", "start", "writing the bundle"))
    config = run.read_json("run.json")["config"]
    wanted = {f"wanted_{name}": config.get(name) for name in ("recall", "precision")}
    rule, val = kind_of(material.task).calibrate(network, material, wanted)
    network = network.cpu()  # what the file is compared with
    chosen = material.indices(["val"])[:NUM_PARITY_IMAGES]
    export(
        network,
        path,
        class_names=material.dataset.class_names,
        prepare=material.prepare,
        decode=rule,
        images=[material.cached.images[index] for index in chosen],
        runtime=config.get("runtime", "onnxruntime"),
        threads=config.get("threads", 1),
        lowering=form_of(run) or "auto",
        metrics={"val": summary_of(val)},
        trained={"data": material.dataset.name, "splits": material.splits.counts(), "seed": config["seed"]},
    )
    run.finish("export", seconds=_since(began), **rule)
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
    report = kind_of(material.task).score(model, [material.dataset.samples[index] for index in indices])
    run.write_json("test.json", report)
    update_manifest(bundle, metrics={**model.manifest.metrics, "test": summary_of(report)})
    run.finish("test", seconds=_since(began), num_images=report["num_images"])
    on_event(Event("test", "done", f"{100 * main_figure(material.task, report):.1f} %"))
    return report


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
        arch = arch_for(opened.manifest.task, arch)
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

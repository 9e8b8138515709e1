"""``ghostfit export``: the network of a run as a bundle with its parity certificate."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ghostfit.arch import Arch
from ghostfit.config import argument, option, settle
from ghostfit.event import OnEvent, ignore
from ghostfit.run import Run
from ghostfit.runtime.bench import measure_latency
from ghostfit.runtime.bundle import open_bundle, update_manifest
from ghostfit.verbs.finish import ship
from ghostfit.verbs.kinds import summary_of
from ghostfit.verbs.material import read_material
from ghostfit.vision.prepare import Prepare

if TYPE_CHECKING:
    from ghostfit.nn.build import Network


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """Settings of an export."""

    run: str = argument("folder of a run made by: ghostfit fit | search | train")
    out: str = option("", "file or folder to write (default: model.ghost in the run)")
    data: str = option("", "images to calibrate with and to certify on (default: the run's own)")
    runtime: str = option("onnxruntime", "runtime that latency is measured with: onnxruntime or openvino")
    threads: int = option(1, "threads that latency is measured with")


@dataclass(frozen=True)
class ExportResult:
    """The bundle and its certificate."""

    bundle: Path
    parity: dict[str, Any]
    latency: dict[str, Any]
    has_failed: bool = False

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready dict."""
        return {"bundle": str(self.bundle), "parity": self.parity, "latency": self.latency}

    def to_text(self) -> str:
        """For a terminal."""
        latency = self.latency
        return (
            f"bundle   {self.bundle}\n"
            f"parity   passed on {self.parity['num_images']} images\n"
            f"latency  {latency['median_ms']:.3f} ms median, {latency['p90_ms']:.3f} ms p90 "
            f"({latency['runtime']}, {latency['threads']} thread{'s' * (latency['threads'] != 1)})"
        )


def export(
    config: ExportConfig | str | Path | Network,
    path: str | Path | None = None,
    *,
    on_event: OnEvent = ignore,
    **settings: Any,
) -> ExportResult:
    """Write the bundle of a run anew, or of a network: ``gf.export(network, path, class_names=..., images=...)``.

    The further arguments of the second form are those of `ghostfit.export.export.export`. Raises ValueError when the
    run has no trained network, ParityError (a ValueError) when the file differs from the network.
    """
    if not isinstance(config, ExportConfig | str | Path):
        return _export_network(config, path, settings)
    config = settle(ExportConfig, config, {**({"out": str(path)} if path else {}), **settings})
    run = Run.open(config.run)
    network = load_network(run)
    settings = run.read_json("run.json")["config"]
    material = read_material(
        config.data or settings["data"],
        size_hw=network.arch.size_hw,
        seed=settings["seed"],
        run=None,
        on_event=on_event,
        format=settings.get("format") or None,
        task=network.arch.task,
        resize=settings.get("resize", "squash"),
        channels=network.arch.in_channels,
    )
    if network.prepare is not None:
        material = material.at(network.prepare, on_event)
    network.prepare = material.prepare
    if network.prepare is None:
        raise ValueError(f"{run.path} does not tell how images become input (no prepare.json); finish it with --resume")
    run.reopen("export")
    bundle = ship(run, network, material, on_event)
    tested = run.read_json("test.json")
    if tested is not None:
        update_manifest(bundle, metrics={**open_bundle(bundle).manifest.metrics, "test": summary_of(tested)})
    latency = _measure(bundle, config.runtime, config.threads)
    if config.out:
        bundle = copy_bundle(bundle, Path(config.out))
    return ExportResult(bundle, dict(open_bundle(bundle).manifest.parity or {}), latency)


def _export_network(network: Network, path: str | Path | None, settings: dict[str, Any]) -> ExportResult:
    from ghostfit.export.export import export as write

    if path is None:
        raise ValueError(
            "a network is exported to a path: gf.export(network, 'model.ghost', class_names=..., images=...)"
        )
    bundle = write(network, path, **settings)
    return ExportResult(bundle, dict(open_bundle(bundle).manifest.parity or {}), _measure(bundle, "onnxruntime", 1))


def _measure(bundle: Path, runtime: str, threads: int) -> dict[str, Any]:
    """Latency of a bundle, also written into its manifest."""
    opened = open_bundle(bundle)
    shape = (1, opened.manifest.prepare.in_channels, *opened.manifest.prepare.size_hw)
    latency = measure_latency(opened.network, shape, runtime=runtime, threads=threads, budget_s=1.0).to_dict()
    update_manifest(bundle, latency=[latency])
    return latency


def load_network(run: Run) -> Network:
    """The trained network of a run, with its preparation where the run tells it."""
    from ghostfit.nn.build import build
    from ghostfit.nn.pretrained import load_weights
    from ghostfit.verbs.fit import read_weights

    arch = run.read_json("arch.json")
    if arch is None or not run.file("weights.safetensors").is_file():
        raise ValueError(f"{run.path} has no trained network yet; finish it with --resume")
    network = build(Arch.from_dict(arch))
    load_weights(network, read_weights(run))
    prepare = run.read_json("prepare.json")
    if prepare is not None:
        network.prepare = Prepare.from_dict(prepare)
    return network.eval()


def copy_bundle(path: Path, out: Path) -> Path:
    """Copy a bundle file to `out`, a file or an existing folder, whole or not at all."""
    target = out / path.name if out.is_dir() else out
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.partial")
    shutil.copyfile(path, partial)
    partial.replace(target)
    return target

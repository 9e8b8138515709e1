"""``ghostfit fit``: from labelled images to a measured, deployable network, in a given time.

Phases: data, space, supernet, search, train, export, test, bench, report. Each is passed over when a resumed run has it
already; a time limit or Ctrl-C shortens them, and the run still ends with a valid bundle.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ghostfit.arch import Arch
from ghostfit.config import option, settle
from ghostfit.event import Event, OnEvent, ignore
from ghostfit.run import Run
from ghostfit.search.limits import Limits
from ghostfit.train.config import TrainConfig
from ghostfit.verbs.clock import Clock, ending_s, interruptible
from ghostfit.verbs.finish import bench_bundle, score_test_split, ship
from ghostfit.verbs.hunt import Hunt
from ghostfit.verbs.kinds import check_wanted, kind_of, main_figure
from ghostfit.verbs.material import LEARNT, Material, material_of
from ghostfit.verbs.outset import check_input
from ghostfit.verbs.reuse import like_store
from ghostfit.verbs.rivals import compare_trained
from ghostfit.verbs.runs import open_run
from ghostfit.verbs.search import SearchConfig
from ghostfit.verbs.training import class_weights_of, forward, lr_share_of, running_form, teacher_of, training_form

if TYPE_CHECKING:
    from ghostfit.nn.build import Network

# Of the time limit: training the store, then looking for the network; what is left trains the network.
SUPERNET_SHARE, SEARCH_SHARE = 0.45, 0.12


@dataclass(frozen=True, kw_only=True)
class FitConfig(SearchConfig, TrainConfig):
    """Settings of the whole: the limits, the search, and the training of the network that it finds."""

    compare: bool = option(
        False, "also train what a person would have taken, at the same latency on as many images; takes thrice the time"
    )
    recall: float | None = option(
        None, "objects: choose the score from which on they count so that this share is found (default: the best F1)"
    )
    precision: float | None = option(None, "objects: choose that score so that this share of the answers is right")

    def __post_init__(self) -> None:
        Limits.__post_init__(self)
        TrainConfig.__post_init__(self)
        check_wanted(self.recall, self.precision)


@dataclass(frozen=True)
class FitResult:
    """What came out: the bundle, what it is worth and what it costs, as measured on the shipped file."""

    run: Path
    bundle: Path
    report: Path
    arch_id: str
    metric: str
    value: float
    standard_error: float
    num_test_images: int
    latency: dict[str, Any]
    sentence: str
    broken_limits: dict[str, float]
    is_stopped: bool = False

    @property
    def has_failed(self) -> bool:
        """Whether the shipped file breaks a limit."""
        return bool(self.broken_limits)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready dict."""
        values = dataclasses.asdict(self)
        return {**values, "run": str(self.run), "bundle": str(self.bundle), "report": str(self.report)}

    def to_text(self) -> str:
        """For a terminal."""
        latency = self.latency
        lines = [
            f"test {self.metric}  {100 * self.value:.1f} % ± {100 * self.standard_error:.1f} "
            f"({self.num_test_images} images, one seed)",
            f"latency        {latency['median_ms']:.3f} ms median, {latency['p90_ms']:.3f} ms p90 "
            f"({latency['runtime']}, {latency['threads']} thread{'s' * (latency['threads'] != 1)}, "
            f"{latency['device']})",
            self.sentence,
            *(f"over the limit: {name} by {excess:.3g}" for name, excess in self.broken_limits.items()),
            f"bundle         {self.bundle}",
            f"report         {self.report}",
        ]
        return "\n".join(lines)


def fit(config: FitConfig | str | Path, *, on_event: OnEvent = ignore, **settings: Any) -> FitResult:
    """Search, train, export, test and measure; returns what is in the run folder.

    Ctrl-C ends the phase at hand early and goes on to the export. Raises ValueError for data or limits that can't be
    met.
    """
    config = like_store(settle(FitConfig, config, settings))
    run = open_run(config, "fit", lambda: check_input(config))
    with interruptible() as is_stopped:
        clock = Clock(run, config.time_s, is_stopped)
        on_event = clock.telling(on_event)
        material = material_of(config, run, on_event)
        hunt = Hunt(config, run, clock, material, on_event)
        found, sentence = hunt.search(SUPERNET_SHARE, SEARCH_SHARE)
        network, material = train_found(hunt, found.arch, clock)
        if config.compare:
            sentence = compare_trained(hunt, network, material, _train_config(config, None))
        bundle = ship(run, network, material, on_event)
        report = score_test_split(run, bundle, material, on_event)
        latency = bench_bundle(run, bundle, config.runtime, config.threads, on_event)
    page = write_page(run, on_event)
    costs = dataclasses.replace(found.costs, latency_ms=latency["median_ms"], latency_p90_ms=latency["p90_ms"])
    return FitResult(
        run=run.path,
        bundle=bundle,
        report=page,
        arch_id=found.arch.id,
        metric=kind_of(material.task).metric_name,
        value=main_figure(material.task, report),
        standard_error=report["standard_error"] or 0.0,
        num_test_images=report["num_images"],
        latency=latency,
        sentence=sentence,
        broken_limits=hunt.limits.violations(costs),
        is_stopped=is_stopped(),
    )


def train_found(hunt: Hunt, arch: Arch, clock: Clock) -> tuple[Network, Material]:
    """Phase ``train``: the found network from inherited weights, on the training and the search split.

    Validated on ``val``. Returns the network with the weights that are kept, and the images at its size.
    """
    from ghostfit.nn.pretrained import load_weights, save_weights
    from ghostfit.train.fit import fit as train

    config, run, on_event = hunt.config, hunt.run, hunt.on_event
    assert isinstance(config, FitConfig)
    material = hunt.material.at(dataclasses.replace(hunt.material.prepare, size_hw=arch.size_hw), on_event)
    network = hunt.network(arch)
    network.prepare = material.prepare
    if run.is_done("train"):
        load_weights(network, read_weights(run))
        return network.eval(), material
    on_event(Event("train", "start", f"network {arch.id}"))
    reserve_s = ending_s(config.time_s)
    train_config = _train_config(config, clock.phase_s("train", 1 / 3 if config.compare else 1.0, reserve_s=reserve_s))
    batches = hunt.material.training(  # crops are taken from the images as the store saw them, then made smaller
        LEARNT,
        batch_size=config.batch_size,
        augment=config.augment,
        flip=config.flip,
        seed=config.seed,
        size_hw=arch.size_hw,
    )
    network = training_form(network, train_config)
    # Weights that were learnt from the same images ask for the rate of a fine-tuning, which keeps the network where the
    # store left it (measured, docs/LOG.md, 2026-11-27).
    probe = hunt.fresh(arch) if hunt.outset.network is None else None
    began = clock.elapsed_s
    records = train(
        network,
        batches,
        material.evaluating(["val"]),
        train_config,
        run=run,
        teacher=teacher_of(train_config, material),
        class_weights=class_weights_of(train_config, material, LEARNT),
        probe=probe,
        lr_share=lr_share_of(train_config.optimizer, config.weights),
        stop=clock.deadline(None),
        spent_s=clock.spent_s("train"),
    )
    forward(records, on_event)
    network = running_form(network)
    network.prepare = material.prepare
    run.write_json("prepare.json", material.prepare.to_dict())
    save_weights(network, run.file("weights.safetensors"))
    run.finish("train", seconds=round(clock.elapsed_s - began, 1), is_stopped=clock.is_stopped())
    on_event(Event("train", "done", "trained"))
    return network.eval(), material


def read_weights(run: Run) -> Any:
    """Tensors of the run's ``weights.safetensors``."""
    from safetensors.torch import load_file

    return load_file(run.file("weights.safetensors"))


def write_page(run: Run, on_event: OnEvent) -> Path:
    """Phase ``report``."""
    from ghostfit.report import write_report

    page = write_report(run.path)
    run.finish("report")
    on_event(Event("report", "done", str(page)))
    return page


def _train_config(config: FitConfig, time_s: float | None) -> TrainConfig:
    """The training's own settings; under a time limit the epochs follow from it."""
    values = {field.name: getattr(config, field.name) for field in dataclasses.fields(TrainConfig)}
    values["time_s"] = time_s
    return TrainConfig(**values)

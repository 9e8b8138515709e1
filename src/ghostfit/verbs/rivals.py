"""``fit --compare``: what a person would have taken at the same latency, trained on as many images, from scratch.

Rivals are the start network and the published preset that has most arithmetic to offer, both scaled in width until
they are as fast as the found network; where published weights are the start, it is the start network at the lower
resolution that is as fast, with the same weights. They are validated, never tested: the test split is read once, for
the found network.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from ghostfit.arch import Arch
from ghostfit.counting import count
from ghostfit.event import Event
from ghostfit.search.start import scale_width, widest_within
from ghostfit.train.config import TrainConfig
from ghostfit.verbs.clock import ending_s
from ghostfit.verbs.compare import sentence_of
from ghostfit.verbs.kinds import kind_of
from ghostfit.verbs.largest import LARGEST
from ghostfit.verbs.material import LEARNT
from ghostfit.verbs.outset import named_arch
from ghostfit.verbs.training import forward, judge, running_form, training_form

if TYPE_CHECKING:
    from ghostfit.nn.build import Network
    from ghostfit.search.limits import Costs
    from ghostfit.verbs.hunt import Hunt
    from ghostfit.verbs.material import Material

PRESETS = ("mobilenetv3_small_100", "mobilenetv4_conv_small", "ghostnet_100")
TRAINED = "trained, equal images"
TOLERANCE = 1.02  # of the found network's latency: what two measurements of one file differ by


def compare_trained(hunt: Hunt, found: Network, material: Material, config: TrainConfig) -> str:
    """Phase ``compare``: train the rivals as `found` was trained; returns the sentence, completes ``paid.json``."""
    run, on_event = hunt.run, hunt.on_event
    paid = run.read_json("paid.json")
    if run.is_done("compare"):
        return str(paid["sentence"])
    if hunt.clock.is_stopped():
        return str(paid["sentence"])
    began = hunt.clock.elapsed_s
    on_event(Event("compare", "start", "training what a person would have taken"))
    costs = hunt.costs(found.arch)
    rows = [_row("found", found, material, costs)]
    found_rivals = list(rivals(hunt, costs.latency_ms))
    for number, (name, arch) in enumerate(found_rivals):
        seconds = hunt.clock.phase_s(
            f"compare:{name}", 1 / (len(found_rivals) - number), reserve_s=ending_s(hunt.config.time_s)
        )
        network, own = train_rival(hunt, name, arch, dataclasses.replace(config, time_s=seconds))
        if hunt.clock.is_stopped():
            return str(paid["sentence"])
        rows.append(_row(name, network, own, hunt.costs(arch)))
    how = f"trained on as many images {_origin(hunt)}, one seed"
    sentence = sentence_of(rows, hunt.limits, how, kind_of(material.task).metric_name)
    run.write_json("paid.json", {"sentence": sentence, "rows": [*rows, *paid["rows"]]})
    run.finish("compare", seconds=round(hunt.clock.elapsed_s - began, 1))
    on_event(Event("compare", "done", sentence))
    return sentence


def rivals(hunt: Hunt, latency_ms: float) -> Iterator[tuple[str, Arch]]:
    """Name and architecture of each rival that can be made as fast as `latency_ms`."""
    start = hunt.outset.start
    if hunt.outset.network is not None:
        smaller = widest_within(
            lambda factor: start.replace(
                size_hw=tuple(max(32, round(side * factor / 8) * 8) for side in start.size_hw)
            ),
            lambda scaled: hunt.costs(scaled).latency_ms <= TOLERANCE * latency_ms,
            low=0.2,
            high=1.0,
        )
        if smaller is not None:
            yield "start network, lower resolution", smaller
        return

    def fitted(arch: Arch) -> Arch | None:
        return width_scaled(arch, latency_ms, lambda scaled: hunt.costs(scaled).latency_ms)

    own = fitted(start)
    if own is not None:
        yield "start network, width-scaled", own
    kind = partial(named_arch, nms_free=start.dense is not None and start.dense.nms_free)
    scaled = {
        name: arch
        for name in PRESETS
        if (arch := fitted(kind(name, start.num_classes, start.size_hw, start.in_channels, start.task))) is not None
    }
    if scaled:
        name = max(scaled, key=lambda name: count(scaled[name]).macs)
        yield f"{name}, width-scaled", scaled[name]


def width_scaled(arch: Arch, latency_ms: float, latency_of: Callable[[Arch], float]) -> Arch | None:
    """`arch` with its widths scaled alike, as wide as `latency_ms` allows; None where no width is as fast."""
    return widest_within(
        lambda factor: scale_width(arch, factor),
        lambda scaled: latency_of(scaled) <= TOLERANCE * latency_ms,
        low=0.05,
    )


def _origin(hunt: Hunt) -> str:
    weights = "from the same published weights" if hunt.outset.network is not None else "from scratch"
    before = "its short training" if hunt.strategy == LARGEST else "the shared weights"
    return f"after those of {before}; rivals {weights}"


def train_rival(hunt: Hunt, name: str, arch: Arch, config: TrainConfig) -> tuple[Network, Material]:
    """A rival trained from scratch, and the images at its size.

    For as many steps as the found network, or fewer where the time limit of `config` comes first.
    """
    import torch

    from ghostfit.nn.build import build
    from ghostfit.train.fit import fit

    steps = hunt.run.read_json("plan-train.json")["total_steps"]
    material = hunt.material.at(dataclasses.replace(hunt.material.prepare, size_hw=arch.size_hw), hunt.on_event)
    batches = material.training(
        LEARNT, batch_size=config.batch_size, augment=config.augment, flip=config.flip, seed=config.seed
    )
    torch.manual_seed(config.seed)
    network = build(arch)
    if hunt.outset.network is not None:
        network.load_state_dict(hunt.outset.network.state_dict())
    network = training_form(network.to(hunt.device), config)
    settings = dataclasses.replace(config, epochs=steps / len(batches), teacher="")
    records = fit(
        network,
        batches,
        material.evaluating(["val"]),
        settings,
        run=hunt.run,
        phase=f"compare:{name}",
        stop=hunt.clock.deadline(None),
        spent_s=hunt.clock.spent_s(f"compare:{name}"),
    )
    forward(records, hunt.on_event)
    return running_form(network).eval(), material


def _row(name: str, network: Network, material: Material, costs: Costs) -> dict[str, Any]:
    judged = judge(network, material.evaluating(["val"]))
    return {
        "name": name,
        "arch_id": network.arch.id,
        "metric": judged.metric,
        "standard_error": judged.standard_error,
        "latency_ms": costs.latency_ms,
        "macs": costs.macs,
        "params": costs.params,
        "how": TRAINED,
    }

"""Our side: one store for all limits, a study at each, and the training of what it finds."""

from __future__ import annotations

import itertools
import json
import math
import random
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ghostfit.arch import Arch
from ghostfit.counting import count
from ghostfit.data.loader import KeptBatches
from ghostfit.nn.build import Network, build
from ghostfit.nn.pretrained import load_pretrained, save_weights
from ghostfit.nn.sharing import Supernet
from ghostfit.nn.whiten import whiten_stem
from ghostfit.run import Run
from ghostfit.search.climb import climb, num_steps
from ghostfit.search.evaluate import Evaluator, Score, costs_of
from ghostfit.search.foresight import promising
from ghostfit.search.largest import NEARLY, in_turn, largest_of_kinds
from ghostfit.search.limits import Limits
from ghostfit.search.runoff import Finalist, finalists, run_off
from ghostfit.search.shrink import Shrinker, balanced_sample
from ghostfit.search.strategies import POPULATION
from ghostfit.search.study import Evaluation, Study, best
from ghostfit.search.supernet import Sandwich
from ghostfit.space import Space
from ghostfit.train.distill import AdaptedInput, freeze
from ghostfit.train.fit import fit
from ghostfit.train.tasks.classify import Classify
from ghostfit.verbs.compare import hand_made
from ghostfit.verbs.hunt import MOST_RUN_OFF_IMAGES, save_store
from ghostfit.verbs.largest import (
    FIRST_SHARE,
    LARGEST,
    LEAST_RIGHT_AT_FIRST,
    MOST_OF_KINDS,
    SMALL_EPOCHS_SHARE,
    scaled_down,
    taken,
)
from ghostfit.verbs.latencies import latency_store
from ghostfit.verbs.outset import FINE_WIDTHS, WIDTHS, make_outset
from ghostfit.verbs.runoff import EPOCHS_SHARE, short_lr
from pays.settings import Setting, accuracy, material_of, recipe, train

NUM_EVIDENCE = 32  # networks of the trained store that are scored to tell where the studies begin
NUM_SPREAD = 1000  # networks drawn, of which those that are ranked are chosen by their cost
PROXIES = ("params", "macs")


@dataclass(frozen=True)
class Ours:
    """The folder of the store and its studies for one setting; `most_ms` is the largest of its limits."""

    setting: Setting
    data: Path
    folder: Path
    most_ms: float

    @property
    def run(self) -> Run:
        """The store's run folder."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return Run(self.folder)

    def latencies(self) -> Any:
        """Measured latencies, kept beside the store."""
        return latency_store("onnxruntime", 1, size_hw=(self.setting.size, self.setting.size), run=self.run)

    def space(self, limit_ms: float | None = None) -> Space:
        """The space that `ghostfit fit` would open at a limit: that of the store at the largest of them."""
        path = self.folder / ("space.json" if limit_ms is None else f"space-{limit_ms:g}.json")
        if not path.exists():
            latencies = self.latencies()
            outset = make_outset(
                start="auto",
                weights="",
                num_classes=len(material_of(self.setting, self.data).dataset.class_names),
                size_hw=(self.setting.size, self.setting.size),
                in_channels=3,
                limits=Limits(latency_ms=limit_ms or self.most_ms),
                costs_of=lambda arch: costs_of(arch, latencies),
                widths=WIDTHS if limit_ms is None else FINE_WIDTHS,
            )
            self.folder.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(outset.space.to_dict()))
        return Space.from_dict(json.loads(path.read_text()))

    def store(self) -> Supernet:
        """The store with its trained weights."""
        from safetensors.torch import load_file

        torch.manual_seed(0)
        supernet = Supernet(self.space())
        path = self.folder / "supernet.safetensors"
        if path.exists():
            supernet.load_state_dict(load_file(path))
        else:
            whiten_stem(supernet, material_of(self.setting, self.data).for_stem())
        return supernet.eval()

    def fresh(self, arch: Arch) -> Network:
        """A network as `ghostfit train` begins with it."""
        network = build(arch)
        whiten_stem(network, material_of(self.setting, self.data).for_stem())
        return network

    def evaluator(self, supernet: Supernet, most: int = 2000) -> Evaluator:
        """Judge of subnets on at most so many images of the search split."""
        material = material_of(self.setting, self.data)
        calibration = [x for x, _ in material.evaluating(["train"], most=512, seed=0).epoch()]
        judged = KeptBatches(material.evaluating(["search"], most=most, seed=0).epoch())
        return Evaluator(supernet, calibration, judged, Classify(), self.latencies())

    def train_store(self) -> dict[str, Any]:
        """One random network a step, small images first, then evidence for all studies; returns what to record."""
        supernet = self.store().train()
        task = Sandwich(self.space(), rule="single")
        batches = material_of(self.setting, self.data).training(
            ["train"], batch_size=self.setting.batch_size, augment="light", flip=True, seed=0
        )
        config = recipe(self.setting, 0, batches.num_images, self.setting.store_images)
        for record in fit(supernet, batches, None, config, task=task, run=self.run, phase="supernet"):
            if record.kind == "step":
                print(f"  {record.values['progress']:.2f} loss {record.values['loss']:.3f}", flush=True)
        save_store(supernet, self.folder / "supernet.safetensors")
        return {"images": self.setting.store_images, "open_genes": len(self.gather().open_genes())}

    def gather(self) -> Space:
        """The space that the studies search: without the choices that networks of the trained store rule out."""
        limits = Limits(latency_ms=self.most_ms)
        shrinker = Shrinker(self.evaluator(self.store()), limits, self.run, num_networks=NUM_EVIDENCE)
        space = shrinker(self.space(), 0)
        (self.folder / "space_final.json").write_text(json.dumps(space.to_dict()))
        return space

    def search(self, limit_ms: float, origin: str, seed: int = 0) -> dict[str, Any]:
        """A study at one limit; `origin` is nsga2, random, params or macs. Returns the network it chooses."""
        strategy = "random" if origin == "random" else "nsga2"
        objective = origin if origin in PROXIES else "metric"
        folder = self.folder / (f"{origin}-{limit_ms:g}" + (f"-seed{seed}" if seed else ""))
        folder.mkdir(parents=True, exist_ok=True)
        limits = Limits(latency_ms=limit_ms).tightened()
        study = Study(Run(folder), self.evaluator(self.store()), limits, objective, seed)
        space = self.space()
        first: list[Arch] = []
        if origin == "nsga2":
            space = Space.from_dict(json.loads((self.folder / "space_final.json").read_text()))
            rows = self.run.records("evidence.jsonl")
            evidence = [(row["phase"], row["point"], row["metric"], row["cost"]) for row in rows]
            first = promising(
                space,
                evidence,
                POPULATION,
                most_cost=limits.latency_ms,
                cost_of=lambda arch: study.evaluator.costs(arch).latency_ms,
                seed=seed,
            )
        num_climbed = num_steps(self.setting.evaluations, study) if origin == "nsga2" else 0
        for _ in study.search(space, strategy, self.setting.evaluations - num_climbed, first=first):
            pass
        for _ in climb(study, space, num_climbed):
            pass
        evaluations = [e for e in study.evaluations() if e.score is not None]
        found, held = best(evaluations), self.run_off(study)
        if held:
            found = held[0].evaluation
        assert found is not None and found.score is not None, f"nothing within {limit_ms} ms"
        return {
            "arch": found.arch.to_dict(),
            "inherited": found.score.metric,
            "latency_ms": found.costs.latency_ms,
            "evaluations": len(evaluations),
            "run_off": [finalist.to_dict() for finalist in held],
        }

    def search_without_store(self, limit_ms: float, origin: str) -> dict[str, Any]:
        """What a search chooses whose networks start fresh; `origin` is largest, random, params or macs."""
        if origin in PROXIES:
            return self.search_by_count(limit_ms, origin)
        return self.search_shortly(limit_ms, by_chance=origin == "random")

    def search_shortly(self, limit_ms: float, *, by_chance: bool) -> dict[str, Any]:
        """What the plain command does to classify: the largest networks of each kind, each trained for a while.

        Random search trains as many that are within the limit by chance.
        """
        latencies, space = self.latencies(), self.space(limit_ms)
        is_within = _within(limit_ms, latencies)
        tried: list[Evaluation] = []
        judge = self.run_off_judge(self.evaluator(Supernet(space)))
        lr = short_lr(self.setting.optimizer, self.setting.batch_size, 1.0)

        def score(arch: Arch, share: float) -> Score:
            images = int(share * self.setting.images)
            return judge.score_network(self.train_fresh(arch, seed=0, images=images, names=("train",), lr=lr))

        wanted: Iterable[Arch]
        if by_chance:
            wanted = itertools.islice(filter(is_within, self._drawn(limit_ms)), MOST_OF_KINDS + 1)
        else:
            kinds = largest_of_kinds(space, is_within)
            small = scaled_down(kinds[0][0], lambda arch: costs_of(arch, latencies).latency_ms)
            if small is not None:
                at_first = score(small, FIRST_SHARE * SMALL_EPOCHS_SHARE)
                assert at_first.metric < LEAST_RIGHT_AT_FIRST, "a small network may be enough here"
            by_hand = (arch for _, arch in reversed(hand_made(space, space.largest())) if is_within(arch))
            turns = in_turn(kinds, MOST_OF_KINDS, lambda: taken(tried).arch.size_hw)
            wanted = itertools.chain(turns, itertools.islice(by_hand, 1))
        for arch in wanted:
            if arch.id in {evaluation.arch.id for evaluation in tried}:
                continue
            result = score(arch, EPOCHS_SHARE)
            tried.append(
                Evaluation(
                    number=len(tried),
                    origin="random" if by_chance else LARGEST,
                    arch=arch,
                    costs=costs_of(arch, latencies),
                    score=result,
                    quality=result.metric,
                    is_feasible=True,
                    seconds=0.0,
                )
            )
        found = taken(tried)
        rows = [{**asdict(e.score), "latency_ms": e.costs.latency_ms, "macs": e.costs.macs} for e in tried if e.score]
        return {"arch": found.arch.to_dict(), "latency_ms": found.costs.latency_ms, "tried": rows}

    def search_by_count(self, limit_ms: float, proxy: str) -> dict[str, Any]:
        """Of networks drawn by chance the one within the limit of most parameters, or MACs; none is trained."""
        latencies = self.latencies()
        is_within = _within(limit_ms, latencies)
        drawn = sorted(self._drawn(limit_ms), key=lambda arch: -count(arch).macs)
        most = next(filter(is_within, drawn))
        near = [arch for arch in drawn if count(arch).macs <= count(most).macs / NEARLY]  # the rest is too slow
        found = next(filter(is_within, sorted(near, key=lambda arch: -getattr(count(arch), proxy))))
        return {"arch": found.to_dict(), "latency_ms": costs_of(found, latencies).latency_ms}

    def _drawn(self, limit_ms: float) -> Iterable[Arch]:
        """Networks of the space at a limit by chance, each once."""
        rng, space = random.Random(0), self.space(limit_ms)
        return {arch.id: arch for arch in (space.sample(rng) for _ in range(NUM_SPREAD))}.values()

    def run_off_judge(self, evaluator: Evaluator) -> Evaluator:
        """The judge on more images."""
        material = material_of(self.setting, self.data)
        judged = KeptBatches(material.evaluating(["search", "val"], most=MOST_RUN_OFF_IMAGES, seed=0).epoch())
        return replace(evaluator, judged=judged, _scores={})

    def run_off(self, study: Study) -> list[Finalist]:
        """The finalists of a study after a short training each, as `ghostfit fit` does it; a proxy has none."""
        wanted = finalists(study.evaluations())
        if len(wanted) < 2:
            return []
        judge = self.run_off_judge(study.evaluator)
        images = int(EPOCHS_SHARE * self.setting.images)
        lr = short_lr(self.setting.optimizer, self.setting.batch_size)

        def trained(arch: Arch) -> Network:
            return self.train_found(arch, seed=0, images=images, names=("train",), lr=lr)

        return run_off(study.run, wanted, trained, judge.score_network)

    def train_found(self, arch: Arch, *, seed: int, images: int, **changes: Any) -> Network:
        """A network of the store, from its weights."""
        judge = self.evaluator(self.store())
        torch.manual_seed(seed)
        probe = self.fresh(arch)
        return self._train(lambda: judge.network(arch), arch, seed=seed, images=images, probe=probe, **changes)

    def train_fresh(self, arch: Arch, *, seed: int, images: int, **changes: Any) -> Network:
        """A network from fresh weights."""
        return self._train(lambda: self.fresh(arch), arch, seed=seed, images=images, **changes)

    def _train(self, make: Callable[[], nn.Module], arch: Arch, **changes: Any) -> Network:
        return train(self.setting, self.data, make, size=arch.size_hw[0], **changes)  # type: ignore[return-value]

    def keep(self, network: Network, limit_ms: float) -> None:
        """Keep a trained network as a teacher of others."""
        save_weights(network, self._kept(limit_ms))

    def teacher(self, arch: Arch, limit_ms: float, size_hw: tuple[int, int]) -> nn.Module:
        """The network `arch` that was kept at a limit, for images of `size_hw`."""
        network = load_pretrained(arch, self._kept(limit_ms))
        prepare = material_of(self.setting, self.data).prepare
        given, own = replace(prepare, size_hw=size_hw), replace(prepare, size_hw=arch.size_hw)
        return freeze(network if given == own else AdaptedInput(network, given, own))

    def _kept(self, limit_ms: float) -> Path:
        return self.folder / f"teacher-{limit_ms:g}.safetensors"

    def ranked(self) -> list[Arch]:
        """The networks by which inherited and standalone accuracy are compared: spread over the space."""
        return spread(self.space(), self.setting.num_ranked, random.Random(7))

    def rank(self, arch: Arch) -> dict[str, Any]:
        """Accuracy of one network with inherited weights, and after a training from fresh ones, on other images."""
        judge = self.evaluator(self.store(), most=MOST_RUN_OFF_IMAGES)
        inherited = judge.score(arch)
        images, without_val = self.setting.rank_images, ("train", "search")
        alone = self.train_fresh(arch, seed=0, images=images, names=without_val)
        found = accuracy(self.setting, self.data, alone, "val", arch.size_hw[0])
        row = {"arch_id": arch.id, "macs": count(arch).macs, "size": arch.size_hw[0]}
        return row | {"inherited": inherited.metric, "loss": inherited.loss, "alone": found}


def _within(limit_ms: float, latencies: Any) -> Callable[[Arch], bool]:
    limits = Limits(latency_ms=limit_ms).tightened()
    return lambda arch: not limits.violations(costs_of(arch, latencies))


def spread(space: Space, num: int, rng: random.Random) -> list[Arch]:
    """Networks at equal steps of the logarithm of their MACs, from nearly the cheapest of the space to the dearest.

    Independent draws of all genes would give networks of middling cost only.
    """
    drawn = sorted(balanced_sample(space, NUM_SPREAD, rng), key=lambda arch: count(arch).macs)
    costs = [math.log(count(arch).macs) for arch in drawn]
    wanted = [costs[0] + (costs[-1] - costs[0]) * step / (num - 1) for step in range(num)]
    chosen: dict[str, Arch] = {}
    for level in wanted:
        left = [pair for pair in zip(costs, drawn, strict=True) if pair[1].id not in chosen]
        arch = min(left, key=lambda pair: abs(pair[0] - level))[1]
        chosen[arch.id] = arch
    return list(chosen.values())


def size_of(network: nn.Module) -> int:
    """Trainable parameters."""
    return sum(parameter.numel() for parameter in network.parameters())

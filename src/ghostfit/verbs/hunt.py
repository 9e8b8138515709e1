"""The phases of a search on one run folder: the space, the store of shared weights, the study, the run-off."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ghostfit.arch import Arch
from ghostfit.event import Event, OnEvent
from ghostfit.run import Run
from ghostfit.search.limits import Costs, Limits, main_cost
from ghostfit.space import Space
from ghostfit.verbs.clock import Clock
from ghostfit.verbs.compare import SHORTLY, hand_made, rows_of, rows_of_run_off, sentence_of
from ghostfit.verbs.kinds import kind_of
from ghostfit.verbs.largest import LARGEST, sentence_of_small, short_network, take_largest
from ghostfit.verbs.material import LEARNT, Material
from ghostfit.verbs.reuse import take_over
from ghostfit.verbs.runoff import hold_run_off
from ghostfit.verbs.training import forward, lr_share_of

if TYPE_CHECKING:
    from ghostfit.data.loader import KeptBatches
    from ghostfit.nn.build import Network
    from ghostfit.nn.sharing import Supernet
    from ghostfit.search.evaluate import Evaluator
    from ghostfit.search.latency import LatencyStore
    from ghostfit.search.study import Evaluation, Study
    from ghostfit.verbs.outset import Outset
    from ghostfit.verbs.search import SearchConfig

CALIBRATION_IMAGES = 256  # for batch norm; more changes accuracies by less than their standard error (docs/LOG.md)
CALIBRATION_PIXELS, LEAST_CALIBRATION = 256 * 128 * 128, 32  # larger images have more places each
MOST_SEARCH_IMAGES = 2000  # standard error of 1 point at 70 %
MOST_RUN_OFF_IMAGES = 8000  # 0.5 points; few networks are scored
LEAST_SEARCH_IMAGES = 200  # below it the validation images help out: 22 images tell mAP 50-95 to 3 points only
MOST_SEARCH_BYTES = 400_000_000  # that they may take, decoded and normalised
NUM_EVIDENCE = {"sandwich": 16, "single": 32}  # networks scored at each shrinking: there are two, or one
# Settings that ask for a store, or that only one has been tried with: by AdamW it is worth eight points (docs/LOG.md).
OF_A_STORE = ("store", "weights", "start", "objective", "evaluations", "search_epochs", "optimizer")


def strategy_of(config: SearchConfig, task: str) -> str:
    """How networks are found: by ``auto`` without a store where a network learns fast and nothing asks for a store.

    That is classification from fresh weights by Muon. Published weights are shared by nature, detectors learn slowly.
    """
    if config.strategy != "auto":
        return config.strategy
    usual = {field.name: field.default for field in dataclasses.fields(config)}
    asks = any(getattr(config, name) != usual[name] for name in OF_A_STORE if name in usual)
    return "nsga2" if asks or task != "classify" else LARGEST


def save_store(supernet: Supernet, path: Path) -> None:
    """Write a store's tensors whole or not at all."""
    from safetensors.torch import save

    from ghostfit.run import write_atomically

    write_atomically(path, save({name: tensor.cpu().contiguous() for name, tensor in supernet.state_dict().items()}))


class Hunt:
    """The phases of a search on one run: space, supernet, study. Each is passed over when the run has it already."""

    def __init__(self, config: SearchConfig, run: Run, clock: Clock, material: Material, on_event: OnEvent) -> None:
        from ghostfit.train.device import choose_device
        from ghostfit.verbs.latencies import latency_store

        self.config, self.run, self.clock, self.on_event = config, run, clock, on_event
        self.strategy = strategy_of(config, material.task)
        self.limits = Limits(**config.given())
        self.aim = self.limits.tightened()
        self.device = choose_device(config.device)
        self.latencies: LatencyStore = latency_store(
            config.runtime, config.threads, size_hw=material.prepare.size_hw, run=run
        )
        if config.store and not run.is_done("space"):
            take_over(run, config.store)
            on_event(Event("supernet", "done", f"taken over from {config.store}"))
        self.outset: Outset = self._set_out(material)
        self.material = self._prepared(material)

    def search(self, supernet_share: float, search_share: float) -> tuple[Evaluation, str]:
        """Train the store, search it, compare; shares are of the time left at the beginning of each phase."""
        given = {"runtime": self.config.runtime, "threads": self.config.threads, "strategy": self.strategy}
        self.run.write_json("limits.json", {**self.limits.given(), **given})
        space = self.shrunk_space()
        if self.strategy == LARGEST:
            return self._take_largest()
        self.train_supernet(space, supernet_share)
        found, evaluations = self.study_space(search_share)
        compared: list[dict[str, Any]] = []
        rest: list[dict[str, Any]] = []
        if held := hold_run_off(self, evaluations):
            found = held[0].evaluation
            compared, rest = rows_of_run_off(held, self.strategy)
        inherited = rows_of(found, evaluations, self.strategy)
        rows, name = [*compared, *rest, *inherited], kind_of(self.material.task).metric_name
        if len(compared) > 1:
            sentence = sentence_of(compared, self.limits, SHORTLY, name)
        else:
            sentence = sentence_of(inherited, self.limits, name=name)
        self._keep_found(found, sentence, rows)
        return found, sentence

    def _take_largest(self) -> tuple[Evaluation, str]:
        found, evaluations = take_largest(self)
        rows = rows_of(found, evaluations, self.strategy, SHORTLY)
        name = kind_of(self.material.task).metric_name
        sentence = sentence_of_small(found) or sentence_of(rows, self.limits, SHORTLY, name)
        self._keep_found(found, sentence, rows)
        return found, sentence

    def _keep_found(self, found: Evaluation, sentence: str, rows: list[dict[str, Any]]) -> None:
        if not self.run.is_done("compare"):  # which adds to it
            self.run.write_json("paid.json", {"sentence": sentence, "rows": rows})
        self.run.write_json("arch.json", found.arch.to_dict())

    def costs(self, arch: Arch) -> Costs:
        """Counted and measured costs."""
        from ghostfit.search.evaluate import costs_of

        return costs_of(arch, self.latencies)

    def shrunk_space(self) -> Space:
        """The space without choices that the limits rule out, from the run folder or measured now; phase ``space``."""
        if self.run.is_done("space"):
            return self.space
        from ghostfit.search.limits import find_feasible
        from ghostfit.search.shrink import drop_infeasible, write_log
        from ghostfit.verbs.genes import measure_genes

        began = self.clock.elapsed_s
        self.on_event(Event("space", "start", f"around {self.outset.name}"))
        self.run.write_json("start.json", {"name": self.outset.name, "arch": self.outset.start.to_dict()})
        feasible = find_feasible(self.outset.space, self.aim, self.costs, seed=self.config.seed)
        space, dropped = drop_infeasible(self.outset.space, self.aim, self.costs, feasible=feasible)
        write_log(self.run, [], dropped)
        is_over = self.clock.deadline(self.clock.share_s(0.06))
        self.run.write_json(
            "gene_time.json", measure_genes(space, self.outset.start, self.latencies, is_over, self.on_event)
        )
        self.run.write_json("space.json", space.to_dict())
        self.run.finish("space", seconds=round(self.clock.elapsed_s - began, 1), num_points=float(space.num_points()))
        self.on_event(
            Event("space", "done", f"{len(space.open_genes())} open genes, about {space.num_points():.1e} networks")
        )
        return space

    @cached_property
    def supernet(self) -> Supernet:
        """The store, with published weights where the outset has them; made on the CPU, so that it starts alike."""
        import torch

        from ghostfit.nn.importance import sort_channels
        from ghostfit.nn.sharing import Supernet

        torch.manual_seed(self.config.seed)
        space = self.space
        if self.outset.network is None or self.run.is_done("supernet"):  # whose weights are read then
            return Supernet(space).to(self.device)
        whole = Supernet(self.outset.space)  # the limits may have closed choices that the published network has
        whole.put(sort_channels(self.outset.network))
        supernet = Supernet(space)
        supernet.put(whole.eval().extract(space.largest()))
        return supernet.to(self.device)

    @cached_property
    def evaluator(self) -> Evaluator:
        """Judge of subnets on the search split, and on the validation split too where it is small."""
        from ghostfit.search.evaluate import Evaluator
        from ghostfit.search.supernet import learner_of
        from ghostfit.train.config import TrainConfig

        height, width = self.material.prepare.size_hw
        num = min(CALIBRATION_IMAGES, max(LEAST_CALIBRATION, CALIBRATION_PIXELS // (height * width)))
        chosen = self.material.evaluating(["train"], most=num, seed=self.config.seed)
        calibration = [x for x, _ in chosen.epoch() if len(x) > 1]  # one image has no variance
        is_small = len(self.material.indices(["search"])) < LEAST_SEARCH_IMAGES
        judged = self._judged(["search", "val"] if is_small else ["search"], MOST_SEARCH_IMAGES)
        task = learner_of(self.supernet, self.space, TrainConfig(), judged)
        return Evaluator(self.supernet, calibration, judged, task, self.latencies)

    @cached_property
    def run_off_judge(self) -> Evaluator:
        """Judge of the few networks of a run-off, on more images."""
        judged = self._judged(["search", "val"], MOST_RUN_OFF_IMAGES)
        return dataclasses.replace(self.evaluator, judged=judged, _scores={})

    def _judged(self, names: list[str], most: int) -> KeptBatches:
        from ghostfit.data.loader import KeptBatches

        height, width = self.material.prepare.size_hw
        most = min(most, MOST_SEARCH_BYTES // (12 * height * width))
        return KeptBatches(self.material.evaluating(names, most=most, seed=self.config.seed).epoch())

    @property
    def space(self) -> Space:
        """The space of the store."""
        return Space.from_dict(self.run.read_json("space.json"))

    def train_supernet(self, space: Space, share: float) -> None:
        """Phase ``supernet``: shared weights for every network of a space that shrinks; kept, and loaded when done."""
        from safetensors.torch import load_file

        from ghostfit.nn.whiten import whiten_stem
        from ghostfit.search.shrink import Shrinker
        from ghostfit.search.supernet import Sandwich, learner_of
        from ghostfit.train.fit import fit
        from ghostfit.train.precision import autocast_of

        config, clock, path = self.config, self.clock, self.run.file("supernet.safetensors")
        if self.run.is_done("supernet"):
            self.supernet.load_state_dict(load_file(path))
            self.supernet.eval()
            return
        self.on_event(Event("supernet", "start", "training shared weights"))
        if self.outset.network is None:
            whiten_stem(self.supernet, self.material.for_stem())
        began = clock.elapsed_s
        batches = self.material.training(
            ["train"], batch_size=config.batch_size, augment=config.augment, flip=config.flip, seed=config.seed
        )
        settings = self._supernet_config(share)
        rule = "single" if self.outset.network is None else "sandwich"
        task = Sandwich(
            space,
            task=learner_of(self.supernet, space, settings, batches),
            shrink=Shrinker(
                self.evaluator, self.aim, self.run, NUM_EVIDENCE[rule], seed=config.seed, is_over=clock.is_stopped
            ),
            num_random=config.num_random,
            rule=rule,
            autocast=autocast_of(getattr(config, "amp", "auto"), self.device),
        )
        records = fit(
            self.supernet,
            batches,
            None,
            settings,
            task=task,
            run=self.run,
            phase="supernet",
            lr_share=lr_share_of(settings.optimizer, config.weights),
            stop=clock.deadline(None),
            spent_s=clock.spent_s("supernet"),
        )
        forward(records, self.on_event)
        self.supernet.eval()
        self.evaluator.forget()
        save_store(self.supernet, path)
        self.run.write_json("space_final.json", task.space.to_dict())
        self.run.finish("supernet", seconds=round(clock.elapsed_s - began, 1), is_stopped=clock.is_stopped())
        self.on_event(Event("supernet", "done", f"{len(task.space.open_genes())} genes are still open"))

    def study_space(self, share: float) -> tuple[Evaluation, list[Evaluation]]:
        """Phase ``search``: the strategy's evaluations and the climb, as many random ones, and what needs no search.

        Returns the best by inherited weights, and all of them.
        """
        from ghostfit.search.climb import ORIGIN, SHARE, climb, num_steps
        from ghostfit.search.study import best

        config, study = self.config, self._study()
        space = Space.from_dict(self.run.read_json("space_final.json"))
        full = self.space
        is_done = self.run.is_done("search")
        began, seconds = self.clock.elapsed_s, self.clock.share_s(share)
        by_hand = hand_made(full, self.outset.start)
        if not is_done:
            self.on_event(Event("search", "start", f"{self.strategy} over {len(space.open_genes())} genes"))
            seen = {evaluation.arch.id for evaluation in study.evaluations()}
            for origin, arch in by_hand:
                if arch.id not in seen:
                    study.evaluate(arch, origin)
            num_climbed = num_steps(config.evaluations, study) if self.strategy != "random" else 0
            half = None if seconds is None else seconds / 2  # the other is for random search
            is_half = self._over(half)
            is_over = self._over((1 - SHARE) * half) if half is not None and num_climbed else is_half
            first = [*(arch for _, arch in by_hand if arch in space), *self._promising(space, is_over)]
            num_bred = config.evaluations - num_climbed
            self._take(study.search(space, self.strategy, num_bred, first=first, is_over=is_over))
            num = self._count(study, self.strategy)
            self._take(climb(study, space, num_climbed, is_over=is_half), num)
            num += self._count(study, ORIGIN)
            if self.strategy != "random" and num:
                rest = None if seconds is None else max(1.0, began + seconds - self.clock.elapsed_s)
                self._take(study.search(full, "random", num, is_over=self._over(rest)), num, 2 * num)
        evaluations = study.evaluations()
        found = best(evaluations) or next((e for e in evaluations if e.origin == "fallback"), None)
        if found is None:
            found = study.evaluate(self.fallback(space), "fallback")
        if not is_done:
            self.run.finish("search", seconds=round(self.clock.elapsed_s - began, 1), num_evaluations=len(evaluations))
            self.on_event(Event("search", "done", f"{len(evaluations)} networks measured"))
        return found, evaluations

    def _promising(self, space: Space, is_over: Callable[[], bool]) -> list[Arch]:
        """Where the study begins: what the evidence of the store's training promises most of."""
        from ghostfit.search.foresight import promising
        from ghostfit.search.strategies import POPULATION

        rows = self.run.records("evidence.jsonl")
        evidence = [(row["phase"], row["point"], row["metric"], row["cost"]) for row in rows]
        most = next(iter(self.aim.given().values()), None)  # of the cost that the evidence tells
        return promising(
            space,
            evidence,
            POPULATION,
            most_cost=most,
            cost_of=lambda arch: main_cost(self.aim, self.costs(arch)),
            seed=self.config.seed,
            is_over=is_over,
        )

    def network(self, arch: Arch) -> Network:
        """The network as the search leaves it: shortly trained, or with inherited weights and norms of its own."""
        if self.strategy == LARGEST:
            return short_network(self, arch)
        return self.evaluator.network(arch)

    def fresh(self, arch: Arch) -> Network:
        """The network with fresh weights, the same whenever it is made."""
        import torch

        from ghostfit.nn.build import build
        from ghostfit.nn.whiten import whiten_stem

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.seed)
            network = build(arch)
        whiten_stem(network, self.material.for_stem())
        return network.to(self.device).to(memory_format=torch.channels_last)

    def _set_out(self, material: Material) -> Outset:
        from ghostfit.verbs.outset import FINE_WIDTHS, WIDTHS, make_outset

        config = self.config
        kept = self.run.file("start.json")
        is_known = self.run.is_done("space") and not config.weights
        return make_outset(
            start=str(kept) if is_known else config.start,
            weights=config.weights,
            num_classes=len(material.dataset.class_names),
            size_hw=material.prepare.size_hw,
            in_channels=material.prepare.in_channels,
            limits=self.aim,
            costs_of=self.costs,
            most_macs=self._most_macs(material),
            task=material.task,
            nms_free=config.nms_free,
            widths=FINE_WIDTHS if self.strategy == LARGEST else WIDTHS,
        )

    def _most_macs(self, material: Material) -> Callable[[Arch], float]:
        """What a network may cost so that the time limit can train it."""
        from ghostfit.verbs.afford import affordable_macs

        seconds = self.clock.share_s(0.85)
        if seconds is None:
            return lambda arch: float("inf")
        num_images, passes = len(material.indices(LEARNT)), kind_of(material.task).passes
        if self.strategy == LARGEST:
            passes = (passes[0], 0)
        return lambda arch: affordable_macs(arch, num_images, seconds, passes, self.device)

    def _prepared(self, material: Material) -> Material:
        """Images normalised as the published weights were trained with, where there are any."""
        network = self.outset.network
        if network is None or network.prepare is None:
            return material
        prepare = dataclasses.replace(
            material.prepare,
            mean=network.prepare.mean,
            std=network.prepare.std,
            interpolation=network.prepare.interpolation,
        )
        return material.at(prepare, self.on_event)

    def _supernet_config(self, share: float) -> Any:
        from ghostfit.train.config import TrainConfig

        config = self.config
        began_with_limit = self.run.read_json("run.json")["config"]["time_s"] is not None
        return TrainConfig(
            epochs=None if began_with_limit else config.search_epochs,
            time_s=self.clock.phase_s("supernet", share),
            batch_size=config.batch_size,
            augment=config.augment,
            seed=config.seed,
        )

    def _study(self) -> Study:
        from ghostfit.search.study import Study

        config = self.config
        return Study(self.run, self.evaluator, self.aim, config.objective, config.seed)

    def _over(self, seconds: float | None) -> Callable[[], bool]:
        return self.clock.deadline(seconds)

    def _take(self, evaluations: Iterator[Evaluation], before: int = 0, total: int | None = None) -> None:
        """Run a study and tell of it, after `before` networks of others; `total` is of all, as far as it is known."""
        num, highest = 0, 0.0
        total = total or self.config.evaluations * (1 if self.strategy == "random" else 2)
        for evaluation in evaluations:
            if evaluation.score is not None:
                num += 1
                highest = max(highest, evaluation.score.metric)
            text = f"{evaluation.origin}: best {100 * highest:.1f} %"
            self.on_event(Event("search", "progress", text, before + num, total))

    def _count(self, study: Study, origin: str) -> int:
        return sum(e.origin == origin and e.score is not None for e in study.evaluations())

    def fallback(self, space: Space) -> Arch:
        """A network within the limits when the search was stopped before it scored one."""
        for arch in (self.outset.start, space.smallest()):
            if not self.limits.violations(self.costs(arch)):
                return arch
        return space.smallest()

"""The pieces of the comparison, in the order that gives a table early; each needs only what comes before it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ghostfit.arch import Arch
from ghostfit.counting import count
from ghostfit.nn.build import Network
from ghostfit.runtime.bench import measure_interleaved
from ghostfit.search.evaluate import costs_of
from ghostfit.search.start import conv_start, widest_within
from ghostfit.verbs.latencies import export_fresh
from pays.ours import Ours, size_of
from pays.peers import deployed, interleaved, peers, to_onnx
from pays.plain import DIGITS, Plain
from pays.records import Records
from pays.settings import SETTINGS, TOLERANCE, Setting, accuracy, train
from pays.specialise import Specialise

Piece = tuple[str, Callable[[], bool]]
PEERS_A_LIMIT = 3
TEACHERS_SHARE = 0.9  # of the loss: 0.7 points better than half after 60,000 images (docs/LOG.md, 2026-12-01)
NOTHING: dict[str, Any] = {"latency_ms": {}, "limits_ms": ()}  # of a set that nothing was measured of
ORIGINS = ("nsga2", "random", "params", "macs")


def pieces(name: str, data: Path, results: Path, work: Path, seeds: int) -> Iterator[Piece]:
    """Key and work of each piece; the work returns whether its result is there."""
    records = Records(results)
    if name == DIGITS.name:
        yield from Plain(work / name, records).pieces()
        return
    setting = SETTINGS[name]

    def piece(key: str, do: Callable[[], dict[str, Any]]) -> Piece:
        return f"{name}/{key}", lambda: records.do(f"{name}/{key}", do)

    yield piece("latency", lambda: _latencies(setting))
    if not (measured := records.get(f"{name}/latency")):
        print(f"{name}/latency is not measured yet, and all else needs it: --only latency, or no --only at all")
        return
    rough, limits = measured["latency_ms"], measured["limits_ms"]
    ours = Ours(setting, data, work / name, max(limits))
    if setting.main == "largest":
        yield from _largest(setting, records, ours, piece, seeds)
    yield piece("store", ours.train_store)
    for limit in limits:
        yield piece(f"search/nsga2/{limit:g}", lambda limit=limit: ours.search(limit, "nsga2"))
        yield piece(f"search/width/{limit:g}", lambda limit=limit: _width(ours, limit))
    for seed in range(seeds):
        for limit in limits:
            if found := records.get(f"{name}/search/nsga2/{limit:g}"):
                yield piece(f"ours/{limit:g}/seed{seed}", lambda f=found, s=seed: _final(ours, f, s))
        if seed:
            continue
        for peer, latency in sorted(rough.items(), key=lambda pair: pair[1]):
            if latency <= TOLERANCE * max(limits):
                yield piece(f"screen/{peer}", lambda peer=peer: _screen(setting, data, peer))
    for seed in range(seeds):
        for peer in best_peers(setting, records):
            yield piece(f"peer/{peer}/seed{seed}", lambda p=peer, s=seed: _peer(setting, data, p, s, setting.images))
        for limit in limits:
            if found := records.get(f"{name}/search/width/{limit:g}"):
                yield piece(f"width/{limit:g}/seed{seed}", lambda f=found, s=seed: _plain(ours, f, s))
    for limit in limits:
        if found := records.get(f"{name}/search/nsga2/{limit:g}"):
            yield piece(f"scratch/{limit:g}/seed0", lambda f=found: _plain(ours, f, 0))
    for limit in limits:
        if job := equal_cost(setting, records, limit):
            yield piece(f"equal/{limit:g}/seed0", lambda j=job: _peer(setting, data, j[0], 0, j[1]))
    rivals = () if setting.main == "largest" else ORIGINS[1:]  # they have no store either then, see above
    for limit in limits:
        for origin in rivals:
            yield piece(f"search/{origin}/{limit:g}", lambda limit=limit, o=origin: ours.search(limit, o))
    for seed in range(min(seeds, 2)):
        for limit in limits:
            for origin in rivals:
                if found := records.get(f"{name}/search/{origin}/{limit:g}"):
                    yield piece(f"{origin}/{limit:g}/seed{seed}", lambda f=found, s=seed: _final(ours, f, s))
    for seed in range(1, seeds):
        for origin, limit in itertools.product(ORIGINS[:1] if setting.main == "largest" else ORIGINS[:2], limits):
            key = f"again/{origin}/{limit:g}/seed{seed}"
            yield piece(key, lambda limit=limit, o=origin, s=seed: ours.search(limit, o, s))
    if records.get(f"{name}/store"):
        for number, arch in enumerate(ours.ranked()):
            yield piece(f"rank/{setting.rank_images}/{number:02d}", lambda arch=arch: ours.rank(arch))
    yield piece("bench", lambda: _bench(setting, records))
    if name == "trashnet":
        yield from Specialise(data / setting.data, work / "specialise", records).pieces()


def _largest(
    setting: Setting, records: Records, ours: Ours, piece: Callable[..., Piece], seeds: int
) -> Iterator[Piece]:
    """What the plain command does: a search without a store, and its network from fresh weights, alone or taught."""
    limits, origins = records.all()[f"{setting.name}/latency"]["limits_ms"], ("largest", *ORIGINS[1:])
    for origin, limit in itertools.product(origins, limits):
        yield piece(f"search/{origin}/{limit:g}", lambda limit=limit, o=origin: ours.search_without_store(limit, o))
    for seed, origin, limit in itertools.product(range(seeds), origins, limits):
        if found := records.get(f"{setting.name}/search/{origin}/{limit:g}"):
            keep = limit if origin == "largest" and not seed else None
            yield piece(f"{origin}/{limit:g}/seed{seed}", lambda f=found, s=seed, k=keep: _plain(ours, f, s, keep=k))
    teacher = records.get(f"{setting.name}/search/largest/{max(limits):g}")
    if teacher and records.get(f"{setting.name}/largest/{max(limits):g}/seed0"):
        for limit in limits:
            if found := records.get(f"{setting.name}/search/largest/{limit:g}"):
                yield piece(f"taught/{limit:g}/seed0", lambda f=found: _taught(ours, f, teacher))


def best_peers(setting: Setting, records: Records) -> list[str]:
    """The peers that are trained in full: at each limit the best of the screening, and every peer once."""
    rows = records.all()
    measured, prefix = rows.get(f"{setting.name}/latency", NOTHING), f"{setting.name}/screen/"
    screened = {key.removeprefix(prefix): row["val"] for key, row in rows.items() if key.startswith(prefix)}
    chosen: dict[str, None] = {}
    for limit in measured["limits_ms"]:
        within = [peer for peer in screened if measured["latency_ms"][peer] <= TOLERANCE * limit]
        chosen.update(dict.fromkeys(sorted(within, key=lambda peer: -screened[peer])[:PEERS_A_LIMIT]))
    return list(chosen)


def equal_cost(setting: Setting, records: Records, limit: float) -> tuple[str, int] | None:
    """The best peer at a limit, and the images that it can see in the CPU time of our search and training."""
    rows, name = records.all(), setting.name
    ours = rows.get(f"{name}/{setting.main}/{limit:g}/seed0")
    origin, store = ("largest", {"cpu_s": 0.0}) if setting.main == "largest" else ("nsga2", rows.get(f"{name}/store"))
    search = rows.get(f"{name}/search/{origin}/{limit:g}")
    latency = rows.get(f"{name}/latency", NOTHING)["latency_ms"]
    trained = {
        key.split("/")[2]: row for key, row in rows.items() if key.startswith(f"{name}/peer/") and key.endswith("seed0")
    }
    within = {peer: row for peer, row in trained.items() if latency[peer] <= TOLERANCE * limit}
    if not (ours and store and search and within):
        return None
    peer = max(within, key=lambda peer: float(within[peer]["test"]))
    total = ours["cpu_s"] + store["cpu_s"] + search["cpu_s"]
    return peer, int(setting.images * total / within[peer]["cpu_s"])


def _latencies(setting: Setting) -> dict[str, Any]:
    files = {name: to_onnx(make(10, setting.size), setting.size) for name, make in peers().items()}
    shape = (1, 3, setting.size, setting.size)
    measured = measure_interleaved(files, shape, runtime="onnxruntime", threads=1, budget_s=0.4)
    latency_ms = {name: latency.median_ms for name, latency in measured.items()}
    return {"latency_ms": latency_ms, "limits_ms": setting.limits_ms(latency_ms)}


def _screen(setting: Setting, data: Path, peer: str) -> dict[str, Any]:
    network = _train_peer(setting, data, peer, 0, setting.screen_images, ("train",))
    return {"val": accuracy(setting, data, network, "val")}


def _peer(setting: Setting, data: Path, peer: str, seed: int, images: int) -> dict[str, Any]:
    network = _train_peer(setting, data, peer, seed, images)
    merged = deployed(network)
    return {"test": accuracy(setting, data, merged, "test"), "images": images, "params": size_of(merged)}


def _train_peer(setting: Setting, data: Path, peer: str, seed: int, images: int, *names: tuple[str, ...]) -> Any:
    from pays.settings import FULL, material_of

    num_classes = len(material_of(setting, data).dataset.class_names)
    chosen = names[0] if names else FULL
    make = peers()[peer]
    return train(setting, data, lambda: make(num_classes, setting.size), seed=seed, images=images, names=chosen)


def _final(ours: Ours, found: dict[str, Any], seed: int) -> dict[str, Any]:
    """From inherited weights."""
    arch = Arch.from_dict(found["arch"])
    return _tested(ours, arch, ours.train_found(arch, seed=seed, images=ours.setting.images))


def _plain(ours: Ours, found: dict[str, Any], seed: int, *, keep: float | None = None) -> dict[str, Any]:
    """From fresh weights, as the peers; kept as a teacher of others where a limit to `keep` it at is given."""
    arch = Arch.from_dict(found["arch"])
    network = ours.train_fresh(arch, seed=seed, images=ours.setting.images)
    if keep is not None:
        ours.keep(network, keep)
    return _tested(ours, arch, network)


def _taught(ours: Ours, found: dict[str, Any], teacher: dict[str, Any]) -> dict[str, Any]:
    """From fresh weights, taught by the trained network of the largest limit, which may be itself."""
    arch = Arch.from_dict(found["arch"])
    taught = ours.teacher(Arch.from_dict(teacher["arch"]), ours.most_ms, arch.size_hw)
    images = ours.setting.images
    network = ours.train_fresh(arch, seed=0, images=images, teacher=taught, distill_weight=TEACHERS_SHARE)
    return _tested(ours, arch, network)


def _tested(ours: Ours, arch: Arch, network: Network) -> dict[str, Any]:
    test = accuracy(ours.setting, ours.data, network, "test", arch.size_hw[0])
    return {"test": test, "images": ours.setting.images, **_size(arch)}


def _width(ours: Ours, limit: float) -> dict[str, Any]:
    """The hand-made chain of convolutions, two a stage, as wide as the limit allows."""
    latencies, template = ours.latencies(), ours.space().template
    arch = widest_within(
        lambda width: conv_start(template.num_classes, template.size_hw, width=width, depth=2),
        lambda arch: costs_of(arch, latencies).latency_ms <= limit,
    )
    assert arch is not None, f"no width is as fast as {limit} ms"
    return {"arch": arch.to_dict(), "latency_ms": costs_of(arch, latencies).latency_ms}


def _bench(setting: Setting, records: Records) -> dict[str, Any]:
    """Latency of every network of the table, in turns."""
    files = {peer: to_onnx(peers()[peer](10, setting.size), setting.size) for peer in best_peers(setting, records)}
    shapes = dict.fromkeys(files, (setting.size, setting.size))
    for key, row in records.all().items():
        if key.startswith(f"{setting.name}/search/"):
            arch, name = Arch.from_dict(row["arch"]), key.removeprefix(f"{setting.name}/search/")
            files[name], shapes[name] = export_fresh(arch), arch.size_hw
    return {"latency": interleaved(files, shapes)}


def _size(arch: Arch) -> dict[str, Any]:
    counts = count(arch)
    return {"params": counts.params, "macs": counts.macs}

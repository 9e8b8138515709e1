"""The latency store measures once, survives damage, and keeps figures of other conditions apart."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from helpers import small_space

from ghostfit.export.lower import LOWERINGS
from ghostfit.runtime.bench import Latency
from ghostfit.search.evaluate import costs_of
from ghostfit.search.latency import LatencyStore
from ghostfit.verbs.latencies import export_fresh

LATENCY = Latency(
    median_ms=1.0,
    p90_ms=1.0,
    min_ms=1.0,
    num_runs=10,
    runtime="onnxruntime",
    runtime_version="1",
    threads=1,
    device="test",
    input_shape=(1, 3, 32, 32),
)


def new_store(path: Path, threads: int = 1) -> LatencyStore:
    return LatencyStore(export_fresh, path=path, threads=threads, budget_s=0.02)


def test_a_figure_is_measured_once_and_found_again(tmp_path: Path) -> None:
    arch, path = small_space().smallest(), tmp_path / "latency.jsonl"
    store = new_store(path)
    first = store.measure(arch)
    assert store.measure(arch) == first and store.num_measured == 1
    again = new_store(path)
    assert again.measure(arch) == first and again.num_measured == 0
    assert first.median_ms > 0 and first.p90_ms >= first.median_ms


def test_a_damaged_line_is_measured_anew(tmp_path: Path) -> None:
    arch, path = small_space().smallest(), tmp_path / "latency.jsonl"
    new_store(path).measure(arch)
    path.write_text('{"key": "cut sho\n{"key": 1}\n[]\n{"key": "x", "latency": {}}\n' + path.read_text()[:-40])
    store = new_store(path)
    store.measure(arch)
    assert store.num_measured == 1


def test_the_size_is_the_files_own_and_costs_no_second_measurement(tmp_path: Path) -> None:
    arch, path = small_space().smallest(), tmp_path / "latency.jsonl"
    store = new_store(path)
    costs = costs_of(arch, store)
    assert costs.size_bytes == len(export_fresh(arch)) > 4 * costs.params and store.num_measured == 1
    assert new_store(path).size_bytes(arch) == costs.size_bytes


def test_a_line_of_an_earlier_version_without_a_size_is_measured_anew(tmp_path: Path) -> None:
    arch, path = small_space().smallest(), tmp_path / "latency.jsonl"
    new_store(path).measure(arch)
    entry = json.loads(path.read_text())
    del entry["size_bytes"]
    path.write_text(json.dumps(entry) + "\n")
    store = new_store(path)
    assert store.size_bytes(arch) > 0 and store.num_measured == 1


def test_threads_forms_and_architectures_have_their_own_figures(tmp_path: Path) -> None:
    space, path = small_space(), tmp_path / "latency.jsonl"
    one, two = new_store(path), new_store(path, threads=2)
    plain = LatencyStore(export_fresh, path=path, form="plain")
    keys = {one.key(space.smallest()), one.key(space.largest()), two.key(space.smallest())}
    assert len(keys | {plain.key(space.smallest())}) == 4


def test_what_is_measured_is_the_file_in_the_stores_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = []
    monkeypatch.setattr(
        "ghostfit.search.latency.measure_latency", lambda model, *args, **kwargs: files.append(model) or LATENCY
    )
    arch = small_space().largest()
    for form in LOWERINGS:
        LatencyStore(export_fresh, path=tmp_path / "latency.jsonl", form=form).measure(arch)
    assert files == [export_fresh(arch, form) for form in LOWERINGS] and len(set(files)) == len(LOWERINGS)


def test_a_resumed_run_finds_its_own_figures_even_of_a_busy_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = iter([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0])
    monkeypatch.setattr(
        "ghostfit.search.latency.measure_latency",
        lambda *args, **kwargs: dataclasses.replace(LATENCY, median_ms=next(figures), disturbed=0.9),
    )
    arch = small_space().smallest()
    shared, own = tmp_path / "latency.jsonl", tmp_path / "run" / "latency.jsonl"
    first = LatencyStore(export_fresh, path=shared, run_path=own).measure(arch)
    again = LatencyStore(export_fresh, path=shared, run_path=own)
    assert again.measure(arch) == first and again.num_measured == 0
    other = LatencyStore(export_fresh, path=shared, run_path=tmp_path / "other" / "latency.jsonl")
    assert other.measure(arch) != first and not shared.exists()


def test_a_run_keeps_a_figure_that_the_store_has_lost(tmp_path: Path) -> None:
    arch, shared, own = small_space().smallest(), tmp_path / "latency.jsonl", tmp_path / "run" / "latency.jsonl"
    first = new_store(shared).measure(arch)
    LatencyStore(export_fresh, path=shared, run_path=own).measure(arch)
    shared.unlink()
    assert LatencyStore(export_fresh, path=shared, run_path=own).measure(arch) == first


@pytest.mark.parametrize("branches", [0, 3])
def test_training_branches_do_not_change_the_key(branches: int, tmp_path: Path) -> None:
    arch = small_space().smallest()
    assert new_store(tmp_path / "l").key(arch.replace(branches=branches)) == new_store(tmp_path / "l").key(arch)

"""Measuring: bounded in time, complete in what it tells, robust against other programs."""

import json
import time

import numpy as np
import pytest

from ghostfit.runtime import bench
from ghostfit.runtime.backends import installed_backends
from ghostfit.runtime.bench import MIN_RUNS, Latency, measure_interleaved, measure_latency

SHAPE = (1, 3, 8, 8)


@pytest.mark.parametrize("runtime", installed_backends())
def test_a_measurement_is_complete_and_bounded(network, runtime):
    measure_latency(network, SHAPE, runtime=runtime, budget_s=0.01)  # the import
    start = time.perf_counter()
    latency = measure_latency(network, SHAPE, runtime=runtime, threads=1, budget_s=0.1)
    assert time.perf_counter() - start < 5
    assert 0 < latency.min_ms <= latency.median_ms <= latency.p90_ms
    assert latency.num_runs >= MIN_RUNS
    assert (latency.runtime, latency.threads, latency.input_shape) == (runtime, 1, SHAPE)
    assert latency.device
    assert latency.cores >= 1
    assert latency.runtime_version
    row = json.loads(json.dumps(latency.to_dict()))
    assert (row["batch"], row["size_hw"]) == (1, [8, 8])
    assert Latency.from_dict(row) == latency


class FakeBackend:
    """A network of a given pace; `slow_every` runs one takes ten times as long and loses its core."""

    runtime, version, threads, input_shape = "fake", "0", 1, SHAPE

    def __init__(self, pace_s: float, clock: "FakeClock", slow_every: int = 0) -> None:
        self.pace_s, self.clock, self.slow_every, self.num_runs = pace_s, clock, slow_every, 0

    def run(self, batch: np.ndarray) -> dict[str, np.ndarray]:
        self.num_runs += 1
        is_slow = bool(self.slow_every) and self.num_runs % self.slow_every == 0
        self.clock.now += self.pace_s * (10 if is_slow else 1)
        self.clock.taken += is_slow
        return {}


class FakeClock:
    def __init__(self) -> None:
        self.now, self.taken = 0.0, 0

    def perf_counter(self) -> float:
        return self.now

    def perf_counter_ns(self) -> int:
        return round(self.now * 1e9)


@pytest.fixture
def fake(monkeypatch):
    clock = FakeClock()
    monkeypatch.setattr(bench, "time", clock)
    monkeypatch.setattr(bench, "_cores_taken", lambda: clock.taken)
    monkeypatch.setattr(bench, "open_backend", lambda name, model, threads: model)
    return clock


def test_disturbed_runs_are_left_out_and_told(fake):
    latency = measure_latency(FakeBackend(0.001, fake, slow_every=3), SHAPE, budget_s=0.5)
    assert latency.median_ms == latency.p90_ms == pytest.approx(1)
    assert latency.disturbed == pytest.approx(1 / 3, abs=0.02)


def test_a_machine_that_is_too_busy_still_gives_a_figure(fake):
    latency = measure_latency(FakeBackend(0.001, fake, slow_every=1), SHAPE, budget_s=0.5)
    assert latency.median_ms == pytest.approx(10)
    assert latency.disturbed == 1
    assert fake.now < 3


def test_a_slow_network_is_bounded(fake):
    latency = measure_latency(FakeBackend(1.0, fake), SHAPE, budget_s=0.5)
    assert latency.num_runs == 3
    assert fake.now <= 6


@pytest.mark.parametrize("pace_s", [0.0001, 0.001, 0.02])
def test_the_time_budget_is_kept(fake, pace_s):
    latency = measure_latency(FakeBackend(pace_s, fake), SHAPE, budget_s=0.5)
    assert fake.now < 0.62
    assert latency.num_runs >= MIN_RUNS


def test_networks_take_turns(fake):
    """The machine becomes twice as slow half-way: both networks see it."""
    backends = {"a": FakeBackend(0.001, fake), "b": FakeBackend(0.002, fake)}
    for backend in backends.values():

        def run(batch, backend=backend):
            fake.now += backend.pace_s * (2 if fake.now > 0.6 else 1)
            return {}

        backend.run = run
    found = measure_interleaved(backends, SHAPE, budget_s=0.5)
    assert found["b"].p90_ms / found["a"].p90_ms == pytest.approx(2, rel=0.01)
    assert found["b"].min_ms / found["a"].min_ms == pytest.approx(2, rel=0.01)
    assert found["a"].p90_ms / found["a"].min_ms == pytest.approx(2, rel=0.01)


def test_each_network_may_have_its_own_shape(network, new_network):
    models = {"small": network, "large": new_network(size_hw=(64, 64))}
    shapes = {"small": SHAPE, "large": (1, 3, 64, 64)}
    found = measure_interleaved(models, shapes, budget_s=0.05)
    assert found["large"].median_ms > found["small"].median_ms
    assert found["large"].input_shape == (1, 3, 64, 64)


def test_wrong_requests_are_refused(network):
    with pytest.raises(ValueError, match=r"network: input of shape \(1, 3, 9, 9\)"):
        measure_latency(network, (1, 3, 9, 9))
    with pytest.raises(ValueError, match=r"b: .*ONNX"):
        measure_interleaved({"a": network, "b": b"hello"}, SHAPE)
    with pytest.raises(ValueError, match="budget_s=0"):
        measure_latency(network, SHAPE, budget_s=0)
    with pytest.raises(ValueError, match="not a latency"):
        Latency.from_dict({"median_ms": 1.0})
    assert measure_interleaved({}, SHAPE) == {}

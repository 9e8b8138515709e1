import json

import pytest

from ghostfit.runtime.profile import measure_blocks

SHAPE = (1, 3, 64, 64)


@pytest.mark.parametrize("threads", [1, 2])
def test_time_is_told_by_block_in_order(new_network, threads, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = measure_blocks(new_network(size_hw=(64, 64)), SHAPE, threads=threads, num_runs=5)
    assert [block.block for block in blocks] == ["stem", "stages.0.0", "head"]
    assert sum(block.share for block in blocks) == pytest.approx(1, abs=1e-3)
    assert all(block.ms > 0 for block in blocks)
    assert sum(block.num_nodes for block in blocks) >= 4
    json.dumps([block.to_dict() for block in blocks])
    assert not list(tmp_path.iterdir())  # the profiler's file is gone


def test_wrong_requests_are_refused(network, tmp_path):
    with pytest.raises(ValueError, match="the network takes"):
        measure_blocks(network, SHAPE)
    with pytest.raises(ValueError, match="No such file"):
        measure_blocks(tmp_path / "none.onnx", SHAPE)

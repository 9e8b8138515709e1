from __future__ import annotations

import pytest

from ghostfit.nn.count import count
from ghostfit.presets import list_presets, preset
from ghostfit.report.cost import block_costs


@pytest.mark.parametrize("name", list_presets())
@pytest.mark.parametrize("size_hw", [(224, 224), (33, 47), (32, 32)])
def test_costs_equal_those_of_the_network(name: str, size_hw: tuple[int, int]) -> None:
    arch = preset(name, num_classes=7, size_hw=size_hw).deployed()
    costs = [(cost.name, cost.params, cost.macs, cost.size_hw) for cost in block_costs(arch)]
    counted = count(arch)
    known = [(block.name, block.params, block.macs, block.out[1:]) for block in counted.by_block]
    assert [entry[:3] for entry in costs] == [entry[:3] for entry in known]
    assert [entry[3] for entry in costs[:-1]] == [entry[3] for entry in known[:-1]]
    assert (sum(cost.params for cost in block_costs(arch)), sum(cost.macs for cost in block_costs(arch))) == (
        counted.params,
        counted.macs,
    )

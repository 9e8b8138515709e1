"""Architectures as values: JSON and back, identity, slots, and what is refused."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ghostfit.arch import Arch, Block, Dense, Head, Stage, Stem, make_divisible, memory_slots


def small(**changes) -> Arch:
    stages = (Stage(8, (Block(mid=16, stride=2), Block(mid=16, ratio=2))), Stage(12, (Block(kind="conv"),)))
    return Arch(stem=Stem(8), stages=stages, head=Head(conv=32)).replace(**changes)


def test_json_and_back():
    arch = small(size_hw=(48, 64), padding="same", branches=2)
    assert Arch.from_json(arch.to_json()) == arch
    assert Arch.from_dict(json.loads(json.dumps(arch.to_dict()))) == arch
    assert Arch.from_json(arch.to_json()).id == arch.id


def test_id_tells_archs_apart():
    assert small().id == small().id
    assert len({small().id, small(num_classes=3).id, small(branches=1).id, small(size_hw=(32, 32)).id}) == 4


@given(st.integers(1, 64), st.integers(1, 5))
def test_slots_are_a_permutation_with_the_primaries_first(channels, ratio):
    slots = memory_slots(channels, ratio)
    assert sorted(slots) == list(range(channels))
    primaries = -(-channels // ratio)
    assert slots[:primaries] == tuple(range(0, primaries * ratio, ratio))


@given(st.floats(1, 2000), st.sampled_from([4, 8, 16]))
def test_make_divisible_never_loses_a_tenth(value, divisor):
    rounded = make_divisible(value, divisor)
    assert rounded % divisor == 0
    assert rounded >= 0.9 * value


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stages": ()}, "at least one stage"),
        ({"num_classes": 0}, "num_classes=0"),
        ({"padding": "valid"}, "allowed: 'symmetric', 'same'"),
        ({"stages": (Stage(8, (Block(), Block(stride=2))),)}, "stage 0 block 1: stride 2; only a stage's first block"),
        ({"stages": (Stage(8, (Block(stride=2, kernel=0, mid=8),)),)}, "needs a depthwise kernel"),
        ({"stages": (Stage(8, (Block(act="gelu"),)),)}, "allowed: relu"),
        ({"stages": (Stage(8, (Block(kernel=4),)),)}, "must be odd"),
        ({"stages": (Stage(8, (Block(mid=8, ratio=0),)),)}, "ratios start at 1"),
        ({"stages": (Stage(8, (Block(dfc=True),)),)}, "mid=0 has none"),
        ({"stages": (Stage(8, (Block(kind="mqa"),)),)}, "allowed: 'ghost', 'conv'"),
    ],
)
def test_refuses_what_no_network_can_be(changes, message):
    with pytest.raises(ValueError, match=message):
        small(**changes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[]", "JSON object, got list"),
        ("{}", "not an architecture: 'stem'"),
        ('{"schema": "ghostfit.arch/9"}', "schema 'ghostfit.arch/9'"),
        ('{"stem": {"out": 8, "width": 2}, "head": {}, "stages": []}', "width"),
    ],
)
def test_refuses_other_json(text, message):
    with pytest.raises(ValueError, match=message):
        Arch.from_json(text)


BACKBONE = Arch(Stem(8), tuple(Stage(8, (Block(stride=2),)) for _ in range(5)), Head(conv=16), num_classes=3)


@pytest.mark.parametrize("task", ["detect", "instance", "segment"])
def test_dense_archs_are_json_and_back(task):
    arch = BACKBONE.as_dense(Dense(task, width=40, head_depth=1))
    assert Arch.from_json(arch.to_json()) == arch and arch.task == task
    assert arch.id not in (BACKBONE.id, BACKBONE.as_dense(Dense(task)).id)


def test_a_classifier_is_written_as_before_there_were_dense_tasks():
    assert "dense" not in small().to_dict() and small().output_names == ("logits",) and small().taps == ()


def test_a_head_with_nms_is_written_as_before_there_was_another():
    plain, free = (BACKBONE.as_dense(Dense("detect", nms_free=nms_free)) for nms_free in (False, True))
    assert plain.id == "0a48c89297e8" and "nms_free" not in plain.to_json()
    assert free.id != plain.id and Arch.from_json(free.to_json()) == free
    assert Arch.from_json(plain.to_json()) == plain and free.output_names == plain.output_names


def test_the_task_fills_in_what_is_not_said():
    assert Dense("detect") == Dense("detect", width=96, strides=(8, 16, 32, 64))
    assert Dense("instance").num_prototypes == 32 and Dense("segment").widths == (32, 64, 128)
    assert Dense("detect", width=48).widths == (48, 48, 48, 48)


def test_equal_networks_are_equal_values():
    assert BACKBONE.as_dense(Dense("detect")) == BACKBONE.replace(head=Head(hidden=9)).as_dense(Dense("detect"))


def test_stages_that_nobody_reads_are_left_out():
    assert list(BACKBONE.features) == [4, 8, 16, 32, 64]
    arch = BACKBONE.as_dense(Dense("segment", strides=(4, 8)))
    assert len(arch.stages) == 2 and arch.taps == (4, 8)
    assert len(BACKBONE.as_dense(Dense("detect")).stages) == 4
    assert BACKBONE.replace(dense=Dense("detect")).taps == (8, 16, 32, 64)
    with pytest.raises(ValueError, match="goes on to stride 64, the neck reads no further than 32"):
        BACKBONE.replace(dense=Dense("segment"))


def test_a_backbone_without_a_stride_is_refused():
    jumps = BACKBONE.replace(stages=(Stage(8, (Block(stride=2),)), Stage(8, (Block(stride=4),))))
    with pytest.raises(ValueError, match="reads maps of stride 8, the backbone has 4, 16"):
        jumps.as_dense(Dense("detect"))
    fine = BACKBONE.replace(stem=Stem(8, stride=4))
    with pytest.raises(ValueError, match="reads maps of stride 4, the backbone has 8, 16, 32"):
        fine.as_dense(Dense("instance"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "count"}, "allowed: detect, instance, segment"),
        ({"strides": (8, 32)}, "each twice the one before"),
        ({"strides": (2, 4)}, "powers of two from 4 on"),
        ({"strides": (12, 24)}, "powers of two from 4 on"),
        ({"width": -1}, "start at 1"),
        ({"ratio": 0}, "start at 1"),
        ({"kernel": 4}, "must be odd"),
        ({"act": "gelu"}, "allowed: relu"),
        ({"num_prototypes": 8}, "only 'instance' has prototypes"),
        ({"task": "segment", "nms_free": True}, "only detect and instance have anything to suppress"),
    ],
)
def test_refuses_what_no_head_can_be(changes, message):
    with pytest.raises(ValueError, match=message):
        Dense(**{"task": "detect", **changes})

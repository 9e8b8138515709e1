"""The derived parts of a training: settings, schedule, plan, optimizer groups, range test, losses, teachers."""

from __future__ import annotations

import argparse
import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from small_training import are_equal, small_batches, small_network, small_val, weights_of
from torch import nn

from ghostfit.config import add_flags, from_args, from_dict, to_dict
from ghostfit.nn.build import build
from ghostfit.presets import preset
from ghostfit.run import Run
from ghostfit.train.config import TrainConfig
from ghostfit.train.distill import AdaptedInput, distillation_loss, load_teacher, needs_adapting
from ghostfit.train.evaluate import evaluate
from ghostfit.train.fit import fit
from ghostfit.train.lr_range import as_before, choose_lr, find_lr
from ghostfit.train.optim import make_optimizer, parameter_groups, reference_lr
from ghostfit.train.plan import Plan, choose_eval_every, count_steps, fit_into
from ghostfit.train.precision import autocast_of
from ghostfit.train.schedule import lr_factor
from ghostfit.train.tasks.classify import Classify, balanced_weights, make_classify, mix_images
from ghostfit.vision.prepare import Prepare

SCHEDULES = ("cosine", "onecycle", "plateau")


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0},
        {"time_s": -1.0},
        {"lr": 0.0},
        {"lr": "fast"},
        {"optimizer": "adam"},
        {"schedule": "step"},
        {"label_smoothing": 1.0},
        {"layer_decay": 0.0},
        {"amp": "yes"},
        {"distill_temperature": 0.0},
        {"batch_size": 0},
    ],
)
def test_a_setting_outside_its_range_says_what_is_allowed(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}=.* is not allowed; give "):
        TrainConfig(**wrong)


def test_settings_come_from_flags_and_json():
    parser = argparse.ArgumentParser()
    add_flags(parser, TrainConfig)
    config = from_args(TrainConfig, parser.parse_args(["--time", "2m", "--lr", "0.01", "--no-ema", "--mixup", "0.2"]))
    assert (config.time_s, config.lr, config.ema, config.mixup) == (120.0, 0.01, False, 0.2)
    assert from_args(TrainConfig, parser.parse_args(["--lr", "auto"])).lr == "auto"
    assert from_dict(TrainConfig, to_dict(config)) == config


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("warmup", [0.0, 0.1])
def test_schedules_rise_to_the_peak_and_fall_to_the_floor(schedule, warmup):
    rates = [lr_factor(schedule, p, warmup=warmup, floor=0.01) for p in np.linspace(0, 1, 201)]
    assert max(rates) == pytest.approx(1.0)
    assert rates[-1] == pytest.approx(1e-4 if schedule == "onecycle" else 0.01)
    assert max(abs(a - b) for a, b in itertools.pairwise(rates)) < 0.25, "no jumps"
    peak = rates.index(max(rates))
    assert all(a >= b - 1e-12 for a, b in itertools.pairwise(rates[peak:]))


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_plan_that_is_bent_keeps_the_rate_and_reaches_the_floor(schedule):
    plan = Plan(total_steps=1000, steps_per_epoch=50, peak_lr=1.0, ema_decay=0.99, eval_every=1)

    def rate(plan, step):
        return lr_factor(schedule, plan.progress(step), warmup=0.05, floor=0.01)

    bent = plan.replanned(400, 600).replanned(500, 800)
    behind = (0, 200, 399, 400)
    assert [bent.progress(step) for step in behind] == pytest.approx([plan.progress(step) for step in behind])
    assert bent.progress(799) == 1.0
    steps = [bent.progress(step) for step in range(800)]
    assert all(a < b for a, b in itertools.pairwise(steps))
    assert rate(bent, 799) == rate(plan, 999)
    assert Plan.from_dict(bent.to_dict()) == bent


@pytest.mark.parametrize(("step_s", "expected"), [(0.01, 4900), (0.02, 2450), (0.011, 5000), (0.0001, 10000)])
def test_a_plan_fits_into_what_is_left(step_s, expected):
    plan = Plan(total_steps=5000, steps_per_epoch=100, peak_lr=1.0, ema_decay=0.99, eval_every=1, time_s=50.0)
    config = TrainConfig(time_s=50.0, epochs=100.0)
    elapsed_s, step = (5.0, 500) if step_s == 0.011 else (0.0, 0)
    fitted = fit_into(plan, config, step, elapsed_s=elapsed_s, step_s=step_s, eval_s=0.0, reserve_s=0.0)
    if step_s == 0.011:
        assert fitted.total_steps == 500 + int((49.0 - 5.0) / 0.011)
    else:
        assert fitted.total_steps == (5000 if abs(expected - 5000) < 150 else expected)


def test_steps_are_counted_from_epochs_or_time():
    assert count_steps(TrainConfig(epochs=2.5), 10) == 25
    assert count_steps(TrainConfig(), 10) == 300
    assert count_steps(TrainConfig(time_s=10.0), 10, step_s=0.1, left_s=9.0) == 90
    assert count_steps(TrainConfig(time_s=10.0, epochs=1), 10, step_s=0.1, left_s=9.0) == 10
    assert count_steps(TrainConfig(time_s=10.0), 10, step_s=0.1, left_s=-1.0) == 1


def test_validation_stays_within_its_share():
    assert choose_eval_every(total_steps=1000, steps_per_epoch=100, eval_share=0.15) == 1
    assert choose_eval_every(total_steps=1000, steps_per_epoch=100, eval_share=1.5) == 5
    assert choose_eval_every(total_steps=10_000, steps_per_epoch=10, eval_share=0.1) == 10


def test_norms_and_biases_do_not_decay_and_early_layers_learn_slower():
    network = build(preset("mobilenetv4_conv_small", num_classes=3, size_hw=(32, 32)))
    groups = parameter_groups(network, weight_decay=0.1, layer_decay=0.5)
    assert sum(len(group["params"]) for group in groups) == len(list(network.parameters()))
    for group in groups:
        assert all((parameter.ndim > 1) == (group["weight_decay"] == 0.1) for parameter in group["params"])
    scales = {id(parameter): group["lr_scale"] for group in groups for parameter in group["params"]}
    by_name = [(name, scales[id(parameter)]) for name, parameter in network.named_parameters()]
    assert by_name[-1][1] == 1.0
    assert all(a <= b for (_, a), (_, b) in itertools.pairwise(by_name)), "rates rise from the stem to the classifier"
    assert by_name[0][1] < 0.01


@pytest.mark.parametrize("name", ["muon", "adamw", "sgd", "lamb"])
def test_every_optimizer_lowers_a_loss(name):
    network = small_network()
    config = TrainConfig(optimizer=name, batch_size=16)
    optimizer, task = make_optimizer(network, config), Classify()
    losses = []
    for x, y in itertools.islice(itertools.chain.from_iterable(small_batches().epoch(0) for _ in range(10)), 60):
        losses.append(float(task.train_step(network, x, y)["loss"]))
        optimizer.step()
        optimizer.zero_grad()
    assert losses[-1] < 0.85 * losses[0]


def test_the_range_test_leaves_no_trace_and_repeats_itself():
    network, task = small_network(), Classify(mixup=0.2)
    before = weights_of(network)
    config = TrainConfig(batch_size=16)
    found = find_lr(network, task, small_batches(), config, 30)
    assert are_equal(before, weights_of(network))
    assert all(parameter.grad is None for parameter in network.parameters())
    assert found == find_lr(network, task, small_batches(), config, 30)
    reference = reference_lr(config.optimizer, 16)
    assert reference / 32 <= found.lr <= reference * 2.5


def test_the_rate_is_found_on_the_probe(monkeypatch):
    tested = []

    def note(network, *settings, **more):
        tested.append(network)
        return find_lr(network, *settings, **more)

    monkeypatch.setattr("ghostfit.train.fit.find_lr", note)
    network, probe, before = small_network(), small_network(), weights_of(small_network())
    for given in (None, probe):
        records = fit(network, small_batches(), None, TrainConfig(batch_size=16, epochs=80.0), probe=given)
        next(records)  # the plan is made
        records.close()
    assert tested == [network, probe]
    assert are_equal(before, weights_of(probe))


def test_the_range_test_survives_a_loss_that_is_no_number():
    class Broken(Classify):
        def train_step(self, network, x, y):
            return {"loss": super().train_step(network, x, y)["loss"] * math.nan}

    found = find_lr(small_network(), Broken(), small_batches(), TrainConfig(batch_size=16), 20)
    assert found.lr > 0 and found.curve == ()


def test_a_sharp_network_gets_a_lower_rate():
    rates = [1e-4 * 2**i for i in range(10)]
    falls = [-0.01 * i for i in range(10)]
    rises = [-0.01, -0.02, -0.03, 0.1, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0]
    assert choose_lr(rates, rises, 4e-3) == pytest.approx(2e-4)
    assert choose_lr(rates, falls, 4e-3) == pytest.approx(4e-3 * 2.5)


def test_what_happens_on_a_copy_stays_there_even_if_it_fails():
    network = small_network()
    before = weights_of(network)

    def fail():
        with as_before(network, Classify()):
            network(torch.randn(4, 3, 8, 8))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert are_equal(before, weights_of(network))


def test_smoothed_and_weighted_loss_is_torchs():
    torch.manual_seed(0)
    x, y, weights = torch.randn(6, 3), torch.tensor([0, 1, 2, 0, 1, 2]), torch.tensor([1.0, 2.0, 0.5])
    loss = Classify(label_smoothing=0.1, class_weights=weights).loss(x, y)["loss"]
    assert torch.equal(loss, F.cross_entropy(x, y, weight=weights, label_smoothing=0.1))


@pytest.mark.parametrize(
    "mix", [{"mixup": 0.4, "cutmix": 0.0}, {"mixup": 0.0, "cutmix": 1.0}, {"mixup": 0.4, "cutmix": 1.0}]
)
def test_mixed_images_are_shares_of_both(mix):
    x = torch.stack([torch.zeros(3, 16, 16), torch.ones(3, 16, 16)]).contiguous(memory_format=torch.channels_last)
    for _ in range(20):
        mixed, share = mix_images(x, **mix)
        assert mixed.shape == x.shape and 0 <= share <= 1
        assert float(mixed[1].mean()) == pytest.approx(share, abs=1e-5)
        assert float(mixed[0].mean()) == pytest.approx(1 - share, abs=1e-5)
        assert float(x[0].sum()) == 0.0, "the given images stay"
    assert mix_images(x[:1], **mix)[1] == 1.0, "one image has no partner"


def test_balanced_classes_weigh_the_same_in_all():
    counts = [5, 50, 500]
    weights = balanced_weights(counts)
    sums = [weight * count for weight, count in zip(weights.tolist(), counts, strict=True)]
    assert sums == pytest.approx([sums[0]] * 3)
    assert sum(sums) == pytest.approx(sum(counts))
    network = build(preset("mobilenetv3_small_100", num_classes=4, size_hw=(32, 32)))
    batches = small_batches()
    task = make_classify(network, TrainConfig(class_weights="balanced"), batches)
    assert task.class_weights is not None and len(task.class_weights) == 4


def test_evaluation_keeps_order_and_mode():
    network = small_network().train()
    scores, labels = evaluate(network, small_val())
    assert network.training
    assert scores.shape == (48, 3) and (labels == small_val().labels).all()
    again, _ = evaluate(network, small_val())
    assert (scores == again).all(), "no dropout, no update of norms"


def test_distillation_is_the_divergence():
    torch.manual_seed(0)
    scores, teacher = torch.randn(4, 5), torch.randn(4, 5)
    assert float(distillation_loss(scores, scores)) == pytest.approx(0.0, abs=1e-6)
    student_p, teacher_p = (F.softmax(s / 2, 1) for s in (scores, teacher))
    by_hand = 4 * (teacher_p * (teacher_p / student_p).log()).sum(1).mean()
    assert float(distillation_loss(scores, teacher, 2.0)) == pytest.approx(float(by_hand), rel=1e-5)


def test_a_student_learns_from_an_earlier_run(tmp_path):
    arch = preset("mobilenetv3_small_100", num_classes=3, size_hw=(32, 32))
    run = Run.create(tmp_path / "teacher", "train", {}, seed=0)
    with pytest.raises(ValueError, match="has no trained network yet"):
        load_teacher(run.path, num_classes=3)
    teacher = build(arch)
    run.write_json("arch.json", arch.to_dict())
    save_file(teacher.state_dict(), run.file("weights.safetensors"))
    loaded = load_teacher(run.path, num_classes=3)
    x = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(loaded(x), teacher.eval()(x), rtol=1e-4, atol=1e-5)
    assert not loaded.training and not any(parameter.requires_grad for parameter in loaded.parameters())
    with pytest.raises(ValueError, match="knows 3 classes, the data has 5"):
        load_teacher(run.path, num_classes=5)
    config = TrainConfig(epochs=1, batch_size=16, lr=1e-3, teacher=str(run.path))
    records = list(fit(build(arch), small_batches(32), small_val(), config))
    (step,) = [record.values for record in records if record.kind == "step"]
    assert step["loss"] == pytest.approx(0.5 * step["label_loss"] + 0.5 * step["distill_loss"], rel=1e-4)


@pytest.mark.parametrize(
    ("source", "text"), [("timm:no_such_net", "timm has no model"), ("nowhere/run", "holds no run")]
)
def test_a_teacher_that_is_not_there_is_named(source, text):
    with pytest.raises(ValueError, match=text):
        load_teacher(source, num_classes=3)


def test_a_teachers_input_is_made_as_it_wants_it():
    given = Prepare(size_hw=(8, 8), mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
    expected = Prepare(size_hw=(8, 8), mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
    assert needs_adapting(given, expected) and not needs_adapting(given, given)
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    adapted = AdaptedInput(nn.Identity(), given, expected)(torch.from_numpy(given(image))[None])
    np.testing.assert_allclose(adapted[0].numpy(), expected(image), atol=1e-5)
    smaller = AdaptedInput(nn.Identity(), given, Prepare(size_hw=(4, 6), mean=expected.mean, std=expected.std))
    assert smaller(torch.zeros(1, 3, 8, 8)).shape == (1, 3, 4, 6)


def test_mixed_precision_stays_off_on_a_cpu_unless_asked_for():
    cpu = torch.device("cpu")
    x = torch.randn(2, 3)
    for amp, kind in (("auto", torch.float32), ("off", torch.float32), ("on", torch.bfloat16)):
        with autocast_of(amp, cpu)():
            assert nn.functional.linear(x, x).dtype == kind

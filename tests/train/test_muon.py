"""Muon: the orthogonal factor against the singular value decomposition, and AdamW for what is no matrix."""

import pytest
import torch

from ghostfit.train.muon import COEFFICIENTS, Muon, is_matrix, orthogonal


def weight(*shape: int, seed: int = 0) -> torch.nn.Parameter:
    return torch.nn.Parameter(torch.randn(shape, generator=torch.Generator().manual_seed(seed)))


def stepped(optimizer: torch.optim.Optimizer, parameters: list[torch.nn.Parameter], steps: int) -> None:
    for step in range(steps):
        for number, parameter in enumerate(parameters):
            parameter.grad = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(100 * step + number))
        optimizer.step()


@pytest.mark.parametrize("shape", [(16, 144), (64, 64), (48, 16), (4, 500)])
def test_the_factor_keeps_singular_vectors_and_makes_their_values_alike(shape):
    matrix = weight(*shape).detach()
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    inside = left.T @ orthogonal(matrix) @ right.T
    large = values > 0.02 * values[0]
    assert torch.allclose(inside, torch.diag(inside.diagonal()), atol=1e-3)
    assert ((inside.diagonal()[large] > 0.6) & (inside.diagonal()[large] < 1.3)).all()


def test_steps_on_the_gram_matrix_are_steps_on_the_matrix():
    matrix = weight(32, 288).detach()
    x = matrix.double() / torch.linalg.matrix_norm(matrix.double())
    for a, b, c in COEFFICIENTS:
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    assert torch.allclose(orthogonal(matrix).double(), x, atol=1e-4)


@pytest.mark.parametrize("matrix", [torch.zeros(8, 8), torch.ones(8, 72), 1e-20 * torch.ones(8, 8)])
def test_matrices_without_full_rank_give_numbers(matrix):
    assert torch.isfinite(orthogonal(matrix)).all()


def test_what_is_no_matrix_follows_adamw():
    shapes = [(16,), (16, 1, 3, 3), (3, 64), (600, 600)]
    ours, theirs = ([weight(*shape) for shape in shapes] for _ in range(2))
    assert not any(map(is_matrix, ours))
    settings = {"lr": 0.01, "weight_decay": 0.1, "betas": (0.9, 0.99)}
    stepped(Muon(ours, **settings), ours, 3)
    stepped(torch.optim.AdamW(theirs, **settings), theirs, 3)
    for one, other in zip(ours, theirs, strict=True):
        assert torch.allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("shape", [(16, 32), (16, 8, 3, 3)])
def test_an_update_is_as_long_as_one_of_adamw(shape):
    parameter = weight(*shape)
    before = parameter.detach().clone()
    stepped(Muon([parameter], lr=0.01), [parameter], 1)
    length = (parameter.detach() - before).square().mean().sqrt()
    assert length == pytest.approx(0.2 * 0.01, rel=0.2)


def test_the_form_in_memory_changes_nothing():
    plain, last = weight(16, 8, 3, 3), weight(16, 8, 3, 3)
    last.data = last.data.to(memory_format=torch.channels_last)
    for parameter in (plain, last):
        stepped(Muon([parameter], lr=0.01, weight_decay=0.1), [parameter], 3)
    assert torch.allclose(plain, last, atol=1e-6)
    assert last.is_contiguous(memory_format=torch.channels_last)


def test_without_a_gradient_a_weight_stays():
    matrix, vector = weight(8, 8), weight(8)
    before = matrix.detach().clone(), vector.detach().clone()
    optimizer = Muon([matrix, vector], lr=0.1, weight_decay=0.5)
    optimizer.step()
    assert torch.equal(matrix, before[0]) and torch.equal(vector, before[1])
    assert not optimizer.state


def test_it_goes_on_from_its_state():
    whole, parts = [weight(8, 16), weight(8)], [weight(8, 16), weight(8)]
    stepped(Muon(whole, lr=0.01), whole, 2)
    first = Muon(parts, lr=0.01)
    stepped(first, parts, 1)
    second = Muon(parts, lr=0.01)
    second.load_state_dict(first.state_dict())
    for number, parameter in enumerate(parts):  # the second of the two steps
        parameter.grad = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(100 + number))
    second.step()
    for one, other in zip(whole, parts, strict=True):
        assert torch.equal(one, other)


def test_a_closure_is_called():
    parameter = weight(8, 8)

    def closure() -> float:
        loss = parameter.square().sum()
        loss.backward()
        return loss.item()

    assert Muon([parameter], lr=0.01).step(closure) == pytest.approx(weight(8, 8).square().sum().item())

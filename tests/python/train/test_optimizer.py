"""The C++ optimiser against torch.optim, on the same parameters and gradients."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import polyscene
import pytest
import torch

Optimizer = polyscene._C.train.Optimizer
STEPS = 7
pytestmark = pytest.mark.filterwarnings("ignore:Sparse invariant checks are implicitly disabled")


def parameters(seed: int, dtype: torch.dtype) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=dtype).requires_grad_() for shape in [(5, 3), (7,), ()]]


def gradients(seed: int, dtype: torch.dtype) -> list[list[torch.Tensor]]:
    return [[p.detach() for p in parameters(1000 * seed + i, dtype)] for i in range(STEPS)]


def run(step: Callable[[], object], values: list[torch.Tensor], grads: list[list[torch.Tensor]]) -> None:
    for row in grads:
        for value, grad in zip(values, row, strict=True):
            value.grad = grad.clone()
        step()


def ours(options: dict[str, Any], values: list[torch.Tensor]) -> Any:
    return Optimizer(options, [(f"p{i}", value) for i, value in enumerate(values)])


CASES = [
    ("adam", {}, torch.optim.Adam, {}),
    ("adam", {"weight_decay": 0.1}, torch.optim.Adam, {"weight_decay": 0.1}),
    ("adam", {"betas": [0.5, 0.9], "eps": 1e-3}, torch.optim.Adam, {"betas": (0.5, 0.9), "eps": 1e-3}),
    ("lazy_adam", {"weight_decay": 0.1}, torch.optim.Adam, {"weight_decay": 0.1}),
    ("adamw", {"weight_decay": 0.1}, torch.optim.AdamW, {"weight_decay": 0.1}),
    ("sgd", {}, torch.optim.SGD, {}),
    ("sgd", {"momentum": 0.9, "weight_decay": 0.1}, torch.optim.SGD, {"momentum": 0.9, "weight_decay": 0.1}),
    ("rowwise_adagrad", {"eps": 1e-10}, torch.optim.Adagrad, {}),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("name", "options", "reference", "arguments"), CASES)
def test_dense_parameters_follow_torch(
    name: str, options: dict[str, Any], reference: Any, arguments: dict[str, Any], dtype: torch.dtype
) -> None:
    mine, theirs, fused = (parameters(0, dtype) for _ in range(3))
    run(ours({"optimizer": name, "lr": 0.05, **options}, mine).step, mine, gradients(1, dtype))
    run(reference(theirs, lr=0.05, foreach=False, **arguments).step, theirs, gradients(1, dtype))
    run(reference(fused, lr=0.05, fused=True, **arguments).step, fused, gradients(1, dtype))
    tolerance = 1e-12 if dtype == torch.float64 else 2e-6
    for a, b, c in zip(mine, theirs, fused, strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)
        assert torch.equal(a, c)


def sparse_gradients(rows: int, width: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    out = []
    for _ in range(STEPS):
        index = torch.randint(rows, (1, 6), generator=generator)
        values = torch.randn(6, width, generator=generator).double()
        out.append(torch.sparse_coo_tensor(index, values, (rows, width)))
    return out


def follow(options: dict[str, Any], reference: Any, arguments: dict[str, Any], dense: bool) -> None:
    start = torch.randn(20, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    mine, theirs = start.clone().requires_grad_(), start.clone().requires_grad_()
    optimizer = Optimizer({"lr": 0.05, **options}, [], [("table", mine)])
    expected = reference([theirs], lr=0.05, **arguments)
    for grad in sparse_gradients(20, 3):
        mine.grad, theirs.grad = grad.clone(), grad.to_dense() if dense else grad.clone()
        optimizer.step()
        expected.step()
    torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-12)


def test_lazy_adam_with_global_steps_follows_sparse_adam() -> None:
    # SparseAdam adds eps before the bias correction of the second moment: the same with no eps.
    follow({"optimizer": "lazy_adam", "lazy_steps": "global", "eps": 0}, torch.optim.SparseAdam, {"eps": 1e-300}, False)


def test_sgd_on_a_table_follows_torch() -> None:
    follow({"optimizer": "sgd"}, torch.optim.SGD, {}, False)


@pytest.mark.parametrize(("name", "reference"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)])
def test_dense_optimisers_take_sparse_gradients(name: str, reference: Any) -> None:
    follow({"optimizer": name}, reference, {"weight_decay": 0}, True)


def test_lazy_adam_differs_from_adam_only_by_rows_that_rest() -> None:
    start = torch.zeros(3, 1, dtype=torch.float64)
    lazy, dense = start.clone().requires_grad_(), start.clone().requires_grad_()
    first = Optimizer({"optimizer": "lazy_adam", "lr": 0.1}, [], [("w", lazy)])
    second = Optimizer({"optimizer": "adam", "lr": 0.1}, [], [("w", dense)])
    for row in [0, 1]:
        for value in (lazy, dense):
            value.grad = torch.sparse_coo_tensor([[row]], torch.ones(1, 1, dtype=torch.float64), (3, 1))
        first.step()
        second.step()
    # Row 1 was first looked up at step 2: by its own count that is a full first step.
    torch.testing.assert_close(lazy.detach().flatten(), torch.tensor([-0.1, -0.1, 0.0]).double(), rtol=0, atol=1e-8)
    # Dense Adam lets row 0 coast and corrects row 1's first moments for two steps.
    coast = 0.1 * (0.09 / 0.19) / (0.000999 / 0.001999) ** 0.5
    late = 0.1 * (0.1 / 0.19) / (0.001 / 0.001999) ** 0.5
    expected = torch.tensor([-0.1 - coast, -late, 0.0]).double()
    torch.testing.assert_close(dense.detach().flatten(), expected, rtol=0, atol=1e-7)


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd", "lazy_adam", "rowwise_adagrad"])
def test_decay_never_touches_rows_that_were_not_looked_up(name: str) -> None:
    table = torch.ones(4, 2).requires_grad_()
    optimizer = Optimizer({"optimizer": name, "weight_decay": 0.5, "lr": 0.1}, [], [("w", table)])
    table.grad = torch.sparse_coo_tensor([[2]], torch.full((1, 2), 1e-3), (4, 2))
    optimizer.step()
    assert torch.equal(table.detach()[[0, 1, 3]], torch.ones(3, 2))
    assert (table.detach()[2] < 0.97).all()


def test_clipping_follows_torch_with_sparse_gradients_in_the_norm() -> None:
    start = parameters(0, torch.float64)[0].detach()
    dense, table, a, b = (start.clone().requires_grad_() for _ in range(4))
    optimizer = Optimizer({"optimizer": "sgd", "lr": 1.0, "clip_norm": 0.7}, [("d", dense)], [("t", table)])
    grad = torch.sparse_coo_tensor([[4, 1, 4]], torch.randn(3, 3).double(), (5, 3))
    dense.grad, table.grad = torch.ones(5, 3).double(), grad.clone()
    a.grad, b.grad = torch.ones(5, 3).double(), grad.to_dense()
    norm = torch.nn.utils.clip_grad_norm_([a, b], 0.7)
    optimizer.step()
    torch.optim.SGD([a, b], lr=1.0).step()
    assert optimizer.gradient_norm == pytest.approx(norm.item(), rel=1e-12)
    torch.testing.assert_close(dense, a, rtol=1e-12, atol=0)
    torch.testing.assert_close(table, b, rtol=1e-12, atol=1e-15)


def test_cosine_schedule_follows_torch() -> None:
    value = torch.zeros(1).requires_grad_()
    optimizer = Optimizer({"optimizer": "sgd", "lr": 0.3, "schedule": "cosine", "final_scale": 0.1}, [("x", value)])
    optimizer.set_total_steps(9)
    theirs = torch.optim.SGD([value], lr=0.3)
    expected = torch.optim.lr_scheduler.CosineAnnealingLR(theirs, 9, eta_min=0.03)
    value.grad = torch.ones(1)
    for _ in range(9):
        assert optimizer.lr == pytest.approx(theirs.param_groups[0]["lr"], rel=1e-12)
        optimizer.step()
        theirs.step()
        expected.step()


def test_state_is_named_and_can_be_loaded() -> None:
    values = parameters(0, torch.float32)
    optimizer = ours({"optimizer": "adam"}, values)
    run(optimizer.step, values, gradients(1, torch.float32))
    state = optimizer.state()
    assert sorted(state) == sorted(
        ["step", *(f"p{i}.{k}" for i, k in itertools.product(range(3), ["step", "exp_avg", "exp_avg_sq"]))]
    )
    assert state["step"].item() == state["p1.step"].item() == STEPS
    other = ours({"optimizer": "sgd"}, values)
    with pytest.raises(ValueError, match="Optimizer: unknown state"):
        other.load(state)
    state["p0.exp_avg"] = torch.zeros(2)
    with pytest.raises(ValueError, match=r"Optimizer: state 'p0.exp_avg' must be Float \[5, 3\], got Float \[2\]"):
        ours({"optimizer": "adam"}, values).load(state)


def test_changes_in_place_are_seen_by_autograd() -> None:
    table = torch.ones(3, 2).requires_grad_()
    optimizer = Optimizer({"optimizer": "lazy_adam"}, [], [("w", table)])
    loss = (table * table).sum()
    table.grad = torch.ones(3, 2)
    optimizer.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()

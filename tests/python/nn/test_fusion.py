"""`Fusion` against numpy row by row, and what a missing modality must not do."""

from __future__ import annotations

from typing import Any

import numpy as np
import polyscene.nn as pn
import pytest
import torch
from gradients import check_gradients, random
from slow_fusion import fused
from slow_texts import state_of

KINDS = ("concat", "gated", "cross_attention")
SIZES = [3, 5, 2]
PRESENT = torch.tensor(
    [[True, True, True], [True, False, True], [False, False, True], [False, False, False], [True, True, False]]
)
every_kind = pytest.mark.parametrize("kind", KINDS)


def made(kind: str, sizes: list[int] = SIZES, **options: Any) -> Any:
    torch.manual_seed(3)
    fusion = pn.Fusion(sizes, **{"kind": kind, "hidden": 6} | options).double()
    if kind == "concat":
        torch.nn.init.normal_(fusion.absent)
    return fusion


def vectors(rows: int = len(PRESENT)) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(4)
    return [torch.randn(rows, size, dtype=torch.float64, generator=generator) for size in SIZES]


@every_kind
def test_matches_numpy(kind: str) -> None:
    fusion, x = made(kind), vectors()
    out, weights = fusion.attend(x, PRESENT)
    torch.testing.assert_close(fusion(x, PRESENT), out)
    for b in range(len(PRESENT)):
        expected, expected_weights = fused(
            state_of(fusion), fusion.options, [each[b].numpy() for each in x], PRESENT[b].numpy()
        )
        np.testing.assert_allclose(out[b].detach(), expected, atol=1e-12)
        np.testing.assert_allclose(weights[b].detach(), expected_weights, atol=1e-12)


@every_kind
def test_what_is_missing_is_never_read(kind: str) -> None:
    fusion, x = made(kind), vectors()
    values = (1e9, float("nan"), -7)
    changed = [each.masked_fill(~PRESENT[:, m : m + 1], values[m]) for m, each in enumerate(x)]
    for each in changed:
        each.requires_grad_()
    torch.testing.assert_close(fusion(changed, PRESENT), fusion(x, PRESENT), atol=0, rtol=0)
    fusion(changed, PRESENT).square().sum().backward()
    for m, each in enumerate(changed):
        assert each.grad is not None and (each.grad[~PRESENT[:, m]] == 0).all()
        assert each.grad.isfinite().all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in fusion.parameters())


@every_kind
def test_rows_know_nothing_of_each_other(kind: str) -> None:
    fusion, x = made(kind), vectors()
    for b in range(len(PRESENT)):
        alone = fusion([each[b : b + 1] for each in x], PRESENT[b : b + 1])
        torch.testing.assert_close(fusion(x, PRESENT)[b : b + 1], alone)
    assert fusion([each[:0] for each in x]).shape == (0, 6)


@every_kind
def test_all_are_present_unless_told(kind: str) -> None:
    fusion, x = made(kind), vectors()
    torch.testing.assert_close(fusion(x), fusion(x, torch.ones(5, 3, dtype=torch.bool)), atol=0, rtol=0)
    out, weights = fusion.attend(x)
    torch.testing.assert_close(weights.sum(1), torch.ones(5, dtype=torch.float64))
    assert out.shape == (5, fusion.output_size)


@every_kind
def test_gradients(kind: str) -> None:
    fusion = made(kind, [3, 2, 2], hidden=4)
    x = [random(4, 3), random(4, 2), random(4, 2)]
    present = torch.tensor([[True, True, True], [True, False, True], [True, True, True], [False, True, False]])
    if kind != "cross_attention":
        check_gradients(fusion, lambda: fusion(x, present), *x)
        return
    assert torch.autograd.gradcheck(lambda *_: fusion(x, present), [*x, *fusion.parameters()])
    fusion(x, present).square().sum().backward()
    still = [name for name, p in fusion.named_parameters() if p.grad is None or p.grad.abs().max() < 1e-12]
    assert still == ["attention.key_projection.bias"]  # adds the same to all scores of a softmax


def test_the_softmax_of_two_modalities_is_the_gate_of_the_paper() -> None:
    fusion = made("gated", [3, 5])
    x = vectors()[:2]
    state = {name: value.detach() for name, value in fusion.named_parameters()}
    z = torch.sigmoid(torch.cat(x, 1) @ (state["gate.weight"][0] - state["gate.weight"][1]))[:, None]
    h = [(each @ state[f"projections.{m}.weight"].T).tanh() for m, each in enumerate(x)]
    torch.testing.assert_close(fusion(x), z * h[0] + (1 - z) * h[1])


def test_dropout_is_of_the_fused_vector_in_training_alone() -> None:
    fusion = made("gated", dropout=0.5, hidden=64)
    dropped = (fusion(vectors(40)) == 0).double().mean()
    assert 0.4 < dropped < 0.6
    fusion.eval()
    assert (fusion(vectors(40)) != 0).all()


@pytest.mark.parametrize(
    ("sizes", "options", "text"),
    [
        ([], {}, r"Fusion: sizes must name the width of at least one modality, got \[\]"),
        ([3, 0], {}, r"Fusion: sizes must be positive, got \[3, 0\]"),
        ([3], {"kind": "gate"}, "Fusion: kind must be one of concat, gated, cross_attention, got 'gate'; did you mean"),
        ([3], {"hidden": 0}, "Fusion: hidden must be positive, got 0"),
        ([3], {"kind": "cross_attention", "heads": 4}, r"Fusion: heads \(4\) must divide hidden \(6\)"),
        ([3], {"dropout": 1.0}, r"Fusion: dropout must be in \[0, 1\), got 1"),
    ],
)
def test_options_out_of_range(sizes: list[int], options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        pn.Fusion(sizes, **{"hidden": 6} | options)


def test_inputs_that_do_not_fit() -> None:
    fusion, x = made("gated"), vectors()
    with pytest.raises(ValueError, match="Fusion: x must hold 3 modalities, got 2"):
        fusion(x[:2])
    with pytest.raises(ValueError, match=r"Fusion: modality 1 must be \[5, 5\], got \[5, 4\]"):
        fusion([x[0], x[1][:, :4], x[2]])
    with pytest.raises(ValueError, match=r"Fusion: modality 2 must be \[5, 2\], got \[3, 2\]"):
        fusion([x[0], x[1], x[2][:3]])
    with pytest.raises(ValueError, match=r"Fusion: present must be bool \[5, 3\], got Float \[5, 3\]"):
        fusion(x, PRESENT.float())

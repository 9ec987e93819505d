"""Multi-head attention against loops and against torch's own."""

from __future__ import annotations

import numpy as np
import polyscene.nn as pn
import pytest
import torch
from gradients import check_gradients, random
from torch import nn


def slow_heads(state, query, key, heads, divisor, allowed, added):  # type: ignore[no-untyped-def]
    def project(name: str, x: np.ndarray) -> np.ndarray:
        return x @ state[f"{name}_projection.weight"].T + state[f"{name}_projection.bias"]

    q, k, v = project("query", query), project("key", key), project("value", key)
    width = q.shape[-1] // heads
    batch, queries, keys = q.shape[0], q.shape[1], k.shape[1]
    merged, weights = np.zeros_like(q), np.zeros((batch, heads, queries, keys))
    for b in range(batch):
        for h in range(heads):
            part = slice(h * width, (h + 1) * width)
            for i in range(queries):
                seen = [j for j in range(keys) if allowed[b, i, j]]
                scores = {j: np.exp(q[b, i, part] @ k[b, j, part] / divisor + added[i, j]) for j in seen}
                for j in seen:
                    weights[b, h, i, j] = scores[j] / sum(scores.values())
                    merged[b, i, part] += weights[b, h, i, j] * v[b, j, part]
    return project("output", merged), weights


@pytest.mark.parametrize("scale", ["head", "hidden"])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("kind", ["none", "bool", "added"])
def test_matches_loops(scale: str, causal: bool, kind: str) -> None:
    torch.manual_seed(4)
    module = pn.MultiHeadAttention(6, heads=3, hidden=12, scale=scale, causal=causal).double()
    x = random(3, 4, 6)
    valid = pn.padding_mask(torch.tensor([4, 2, 0]), 4)
    allowed = np.broadcast_to(valid.numpy()[:, None, :], (3, 4, 4)) & (np.tri(4) > 0 if causal else True)
    mask, added = None, np.zeros((4, 4))
    if kind == "bool":
        mask = torch.rand(3, 4, 4) > 0.3
        allowed = allowed & mask.numpy()
    elif kind == "added":
        mask = torch.randn(4, 4, dtype=torch.float64).masked_fill(torch.rand(4, 4) > 0.8, -torch.inf)
        added = mask.numpy()
        allowed = allowed & np.isfinite(added)
    output, weights = module.attend(x, x, x, valid, mask)
    state = {name: tensor.numpy() for name, tensor in module.state_dict().items()}
    array = x.detach().numpy()
    divisor = 12**0.5 if scale == "hidden" else 4**0.5
    expected = slow_heads(state, array, array, 3, divisor, allowed, added)
    np.testing.assert_allclose(output.detach().numpy(), expected[0], atol=1e-13)
    np.testing.assert_allclose(weights.detach().numpy(), expected[1], atol=1e-13)
    torch.testing.assert_close(module(x, x, x, valid, mask), output)


def test_matches_torch() -> None:
    torch.manual_seed(5)
    module, reference = pn.MultiHeadAttention(8, heads=4, causal=True), nn.MultiheadAttention(8, 4, batch_first=True)
    with torch.no_grad():
        projections = (module.query_projection, module.key_projection, module.value_projection)
        reference.in_proj_weight.copy_(torch.cat([p.weight for p in projections]))
        reference.in_proj_bias.copy_(torch.cat([p.bias for p in projections]))
        reference.out_proj.weight.copy_(module.output_projection.weight)
        reference.out_proj.bias.copy_(module.output_projection.bias)
    x, valid = torch.randn(3, 5, 8), pn.padding_mask(torch.tensor([5, 3, 1]), 5)
    hidden = ~pn.causal_mask(5)
    output, weights = reference(x, x, x, key_padding_mask=~valid, attn_mask=hidden, average_attn_weights=False)
    torch.testing.assert_close(module(x, x, x, valid), output, atol=1e-6, rtol=0)
    torch.testing.assert_close(module.attend(x, x, x, valid).weights, weights, atol=1e-6, rtol=0)


@pytest.mark.parametrize("causal", [False, True])
def test_gradients(causal: bool) -> None:
    torch.manual_seed(6)
    module = pn.MultiHeadAttention(4, heads=2, causal=causal).double()
    x = random(2, 3, 4)
    valid = pn.padding_mask(torch.tensor([3, 2]), 3)
    # A bias of the keys adds one number to all scores of a query: it cancels in the softmax.
    module.key_projection.bias.requires_grad_(False)
    rest = nn.ParameterList([p for p in module.parameters() if p.requires_grad])
    check_gradients(rest, lambda: module(x, x, x, valid), x)
    check_gradients(rest, lambda: module.attend(x, x, x, valid).output, x)

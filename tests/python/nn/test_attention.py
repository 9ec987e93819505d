"""Scores and the single attention against loops."""

from __future__ import annotations

import numpy as np
import polyscene.nn as pn
import pytest
import torch
from gradients import check_gradients, random

SCORES = ["dot", "scaled_dot", "cosine", "additive", "bilinear"]


def slow_score(name: str, q: np.ndarray, k: np.ndarray, state: dict[str, np.ndarray]) -> float:
    if name == "dot":
        return float(q @ k)
    if name == "scaled_dot":
        return float(q @ k) / len(q) ** 0.5
    if name == "cosine":
        return float(q @ k) / (np.sum(q**2) ** 0.5 * np.sum(k**2) ** 0.5)
    if name == "bilinear":
        return sum(q[i] * state["weight"][i, j] * k[j] for i in range(len(q)) for j in range(len(k)))
    hidden = state["query_weight"] @ q + state["key_weight"] @ k + state["bias"]
    return float(state["vector"] @ np.tanh(hidden))


def slow_attention(name, state, query, key, value, mask):  # type: ignore[no-untyped-def]
    batch, queries, keys = query.shape[0], query.shape[1], key.shape[1]
    output, weights = np.zeros((batch, queries, value.shape[2])), np.zeros((batch, queries, keys))
    for b in range(batch):
        for i in range(queries):
            seen = [j for j in range(keys) if mask[b, i, j]]
            scores = {j: np.exp(slow_score(name, query[b, i], key[b, j], state)) for j in seen}
            for j in seen:
                weights[b, i, j] = scores[j] / sum(scores.values())
                output[b, i] += weights[b, i, j] * value[b, j]
    return output, weights


@pytest.mark.parametrize("score", SCORES)
def test_attention_matches_loops(score: str) -> None:
    torch.manual_seed(1)
    widths = (3, 4) if score in ("additive", "bilinear") else (3, 3)
    attention = pn.Attention(*widths, score=score, hidden=5).double()
    if score == "additive":
        torch.nn.init.normal_(attention.score.bias)
    query, key, value = random(2, 4, widths[0]), random(2, 5, widths[1]), random(2, 5, 2)
    mask = torch.rand(2, 4, 5) > 0.4
    mask[0, 0] = False
    output, weights = attention.attend(query, key, value, mask)
    state = {name.removeprefix("score."): tensor.numpy() for name, tensor in attention.state_dict().items()}
    arrays = [x.detach().numpy() for x in (query, key, value, mask)]
    expected = slow_attention(score, state, *arrays)
    np.testing.assert_allclose(output.detach().numpy(), expected[0], atol=1e-13)
    np.testing.assert_allclose(weights.detach().numpy(), expected[1], atol=1e-13)
    torch.testing.assert_close(attention(query, key, value, mask), output)
    full = slow_attention(score, state, *arrays[:3], np.ones((2, 4, 5)))[0]
    np.testing.assert_allclose(attention(query, key, value).detach().numpy(), full, atol=1e-13)


@pytest.mark.parametrize("score", SCORES)
def test_gradients(score: str) -> None:
    torch.manual_seed(2)
    attention = pn.Attention(3, 3, score=score, hidden=2).double()
    query, key, value = random(2, 2, 3), random(2, 3, 3), random(2, 3, 2)
    mask = torch.tensor([[True, True, False], [True, True, True]])
    check_gradients(attention, lambda: attention(query, key, value, mask), query, key, value)


def test_free_scores_are_those_of_the_module() -> None:
    torch.manual_seed(3)
    query, key = torch.randn(2, 4, 3), torch.randn(2, 5, 3)
    for name, function in (("dot", pn.dot_scores), ("scaled_dot", pn.scaled_dot_scores), ("cosine", pn.cosine_scores)):
        assert torch.equal(pn.AttentionScore(3, 3, score=name)(query, key), function(query, key))
    bilinear = pn.AttentionScore(3, 3, score="bilinear")
    assert torch.equal(bilinear(query, key), pn.bilinear_scores(query, key, bilinear.weight))
    additive = pn.AttentionScore(3, 3, score="additive")
    parts = (additive.query_weight, additive.key_weight, additive.bias, additive.vector)
    assert torch.equal(additive(query, key), pn.additive_scores(query, key, *parts))

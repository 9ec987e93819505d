"""Sequence encoders of every kind against loops over rows and steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import polyscene.nn as pn
import pytest
import torch
from gradients import check_gradients, random
from slow import gru, lstm

KINDS = ["gru", "lstm", "cnn", "transformer"]
State = dict[str, np.ndarray]


def slow_cnn(state: State, x: np.ndarray, layer: int) -> np.ndarray:
    weight, bias = state[f"cnn.convolutions.{layer}.weight"], state[f"cnn.convolutions.{layer}.bias"]  # [H, D, K]
    kernel, out = weight.shape[2], np.zeros((len(x), len(bias)))
    for t in range(len(x)):
        for k in range(kernel):
            source = t - (kernel - 1 - k) * 2**layer
            if source >= 0:
                out[t] += weight[:, :, k] @ x[source]
    out = np.maximum(out + bias, 0)
    return out if layer == 0 else x + out


def norm(state: State, name: str, x: np.ndarray) -> np.ndarray:
    scaled = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    return scaled * state[f"{name}.weight"] + state[f"{name}.bias"]


def linear(state: State, name: str, x: np.ndarray) -> np.ndarray:
    return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]


def slow_block(state: State, name: str, h: np.ndarray, heads: int) -> np.ndarray:
    a = norm(state, f"{name}.attention_norm", h)
    q, k, v = (linear(state, f"{name}.attention.{part}_projection", a) for part in ("query", "key", "value"))
    merged, width = np.zeros_like(q), q.shape[1] // heads
    for t in range(len(h)):
        for part in (slice(i * width, (i + 1) * width) for i in range(heads)):
            scores = [np.exp(q[t, part] @ k[s, part] / width**0.5) for s in range(t + 1)]
            merged[t, part] = sum(score / sum(scores) * v[s, part] for s, score in enumerate(scores))
    h = h + linear(state, f"{name}.attention.output_projection", merged)
    wide = linear(state, f"{name}.inner", norm(state, f"{name}.feedforward_norm", h))
    gelu = torch.nn.functional.gelu(torch.tensor(wide)).numpy()
    return h + linear(state, f"{name}.outer", gelu)


def slow_encoder(kind: str, state: State, x: np.ndarray, layers: int) -> np.ndarray:
    if kind == "transformer":
        h = linear(state, "transformer.input_projection", x) + state["transformer.positions"][: len(x)]
        for layer in range(layers):
            h = slow_block(state, f"transformer.blocks.{layer}", h, heads=2)
        return norm(state, "transformer.norm", h)
    for layer in range(layers):
        x = slow_cnn(state, x, layer) if kind == "cnn" else {"gru": gru, "lstm": lstm}[kind](state, kind, x, layer)
    return x


def make(kind: str, **options: Any) -> pn.SequenceEncoder:
    return pn.SequenceEncoder(3, kind=kind, **{"hidden": 4, "layers": 2, **options}).double()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scenes", [0, 3])
def test_matches_loops(kind: str, scenes: int) -> None:
    torch.manual_seed(13)
    encoder = make(kind, scenes=scenes, feedforward=6)
    for name, tensor in encoder.named_parameters():
        if "norm" in name or "scene" in name:
            torch.nn.init.normal_(tensor)
    lengths, x = [6, 1, 0, 4], torch.randn(4, 6, 3, dtype=torch.float64)
    scene = torch.randint(0, 3, (4, 6)) if scenes else None
    states = encoder(x, pn.padding_mask(torch.tensor(lengths), 6), scene).detach().numpy()
    state = {name: tensor.numpy() for name, tensor in encoder.state_dict().items()}
    for b, length in enumerate(lengths):
        events = x[b, :length].numpy()
        if scene is not None:
            events = events + state["scene_embedding.weight"][scene[b, :length].numpy()]
        if length:
            np.testing.assert_allclose(states[b, :length], slow_encoder(kind, state, events, 2), atol=1e-12)
        assert np.abs(states[b, length:]).sum() == 0


@pytest.mark.parametrize("kind", KINDS)
def test_gradients(kind: str) -> None:
    torch.manual_seed(14)
    encoder = pn.SequenceEncoder(2, kind=kind, hidden=2, scenes=2, heads=1, feedforward=2, max_length=3).double()
    x, scene = random(2, 3, 2), torch.tensor([[0, 1, 0], [1, 0, 0]])
    valid = pn.padding_mask(torch.tensor([3, 2]), 3)
    frozen = [p for name, p in encoder.named_parameters() if name.endswith("key_projection.bias")]
    for parameter in frozen:  # cancels in the softmax
        parameter.requires_grad_(False)
    rest = torch.nn.ParameterList([p for p in encoder.parameters() if p.requires_grad])
    # A layer norm of two numbers has outputs near +1 and -1 whatever it is given: only a mixed sum shows gradients.
    mix = torch.randn(2, 3, 2, dtype=torch.float64)
    check_gradients(rest, lambda: encoder(x, valid, scene) * mix, x)


@pytest.mark.parametrize("kind", KINDS)
def test_padding_is_never_read(kind: str) -> None:
    torch.manual_seed(15)
    encoder = make(kind)
    x, valid = torch.randn(2, 5, 3, dtype=torch.float64), pn.padding_mask(torch.tensor([5, 2]), 5)
    dirty = x.masked_fill(~valid[:, :, None], torch.nan)
    assert torch.equal(encoder(dirty, valid), encoder(x, valid))
    wider = torch.nn.functional.pad(dirty, (0, 0, 0, 4), value=torch.inf)
    states = encoder(wider, torch.nn.functional.pad(valid, (0, 4)))
    torch.testing.assert_close(states[:, :5], encoder(x, valid), atol=1e-14, rtol=0)
    assert states[:, 5:].abs().sum() == 0


def test_errors_have_the_types_of_python() -> None:
    valid = torch.ones(1, 2, dtype=torch.bool)
    with pytest.raises(IndexError, match=r"^SequenceEncoder: scene must be in \[0, 2\), got 5 to 5"):
        make("gru", scenes=2)(torch.ones(1, 2, 3).double(), valid, torch.full((1, 2), 5))
    with pytest.raises(
        ValueError, match=r"^SequenceEncoder: kind must be one of gru, lstm, cnn, transformer, got 'rnn'"
    ):
        make("rnn")
    with pytest.raises(ValueError, match=r"^SequenceEncoder: unknown option 'size'; known options: kind, hidden, "):
        make("gru", size=3)

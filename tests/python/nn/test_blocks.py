"""Every block is an ordinary torch.nn.Module."""

from __future__ import annotations

import copy
import doctest
import importlib
import pickle
import pkgutil
from typing import Any

import polyscene.nn as pn
import pytest
import torch
from torch import nn

X, STATES = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0)), torch.ones(2, 5, 6)
WORDS, OFFSETS = X.flatten(0, 1), torch.tensor([0, 4, 4, 10])
VALID = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
IMAGES = torch.randn(2, 4, 6, 7, generator=torch.Generator().manual_seed(1))
# Images of 6 x 7 are one pixel at the lowest level of a U-Net: statistics of two numbers, which rounding moves.
LARGER = torch.randn(2, 4, 12, 14, generator=torch.Generator().manual_seed(1))
BLOCKS: dict[type[pn.Block], tuple[tuple[Any, ...], tuple[Any, ...]]] = {
    pn.MLP: ((4,), (X,)),
    pn.Attention: ((4, 4), (X, X, X)),
    pn.AttentionScore: ((4, 4), (X, X)),
    pn.CenterHead: ((4, 3), (IMAGES,)),
    pn.ConvEncoder: ((4,), (X,)),
    pn.DenseAttentionHead: ((4,), (X,)),
    pn.Fusion: (([4, 6],), ([X[0], STATES[0]], torch.tensor([[True, True], [True, False]] + [[True, True]] * 3))),
    pn.Gating: ((4, 6), (X, STATES)),
    pn.ImageAugment: ((), (IMAGES,)),
    pn.ImageEncoder: ((4,), (IMAGES,)),
    pn.InterestPoints: ((4,), (X, VALID)),
    pn.MultiHeadAttention: ((4,), (X, X, X, VALID)),
    pn.PairAttention: ((4,), (X, VALID)),
    pn.SequenceEncoder: ((4,), (X, VALID)),
    pn.TemporalAttention: ((4, 6), (X, STATES, VALID)),
    pn.TextEncoder: ((4,), (WORDS, OFFSETS)),
    pn.TransformerEncoder: ((4,), (X, VALID)),
    pn.UNet: ((4, 2), (LARGER,)),
}
every_block = pytest.mark.parametrize("cls", BLOCKS, ids=lambda cls: cls.__name__)


def make(cls: type[pn.Block], **options: Any) -> tuple[pn.Block, tuple[Any, ...]]:
    torch.manual_seed(26)
    sizes, inputs = BLOCKS[cls]
    return cls(*sizes, **options), inputs


def doubled(x: Any) -> Any:
    if isinstance(x, list):
        return [doubled(each) for each in x]
    return x.double() if x.is_floating_point() else x


def test_every_block_is_here() -> None:
    public = [getattr(pn, name) for name in pn.__all__]
    classes = {value for value in public if isinstance(value, type) and issubclass(value, pn.Block)}
    assert classes - {pn.Block} == set(BLOCKS)


@every_block
def test_copies_and_pickles_compute_the_same(cls: type[pn.Block]) -> None:
    block, inputs = make(cls)
    expected = block(*inputs)
    for other in (copy.deepcopy(block), pickle.loads(pickle.dumps(block))):
        assert other.options == block.options
        torch.testing.assert_close(other(*inputs), expected, atol=0, rtol=0)
        for parameter in block.parameters():
            assert all(parameter is not copied for copied in other.parameters())


@every_block
def test_state_dict_loads_into_another(cls: type[pn.Block]) -> None:
    block, inputs = make(cls)
    other = type(block)(*BLOCKS[cls][0])
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(1)
    other.load_state_dict(block.state_dict())
    torch.testing.assert_close(other(*inputs), block(*inputs), atol=0, rtol=0)


@every_block
def test_double_reaches_cpp(cls: type[pn.Block]) -> None:
    block, inputs = make(cls)
    single = block(*inputs)
    assert block.double() is block
    double = block(*map(doubled, inputs))
    assert double.dtype == torch.float64
    torch.testing.assert_close(double.float(), single, atol=1e-5, rtol=1e-5)


@every_block
def test_an_optimiser_moves_what_cpp_computes(cls: type[pn.Block]) -> None:
    block, inputs = make(cls)
    if not list(block.parameters()):
        return
    optimiser = torch.optim.Adam(block.parameters(), lr=0.001)
    before = block(*inputs).square().sum()
    before.backward()
    optimiser.step()
    assert block(*inputs).square().sum() < before


@every_block
def test_options_have_documented_defaults(cls: type[pn.Block]) -> None:
    block, _ = make(cls)
    fields = cls.option_fields()
    assert block.options == {name: default for name, _, default, _ in fields}
    assert all(doc and type_ for _, type_, _, doc in fields)
    assert cls.__doc__ is not None
    assert not [name for name, *_ in fields if name not in cls.__doc__ and cls is not pn.Attention]
    assert repr(block).startswith(f"{cls.__name__}(")


def test_unknown_option_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"^Gating: unknown option 'baas'; known options: bias; did you mean 'bias'\?"):
        make(pn.Gating, baas=True)
    with pytest.raises(ValueError, match=r"^MLP: option 'dropout' must be float, got 'half' \(str\)"):
        make(pn.MLP, dropout="half")
    with pytest.raises(ValueError, match=r"^MLP: hidden widths must be positive, got \[3, 0\]"):
        make(pn.MLP, hidden=[3, 0])


def test_blocks_stand_in_a_sequential() -> None:
    model = nn.Sequential(pn.MLP(4, hidden=[6], norm="batch"), nn.ReLU(), pn.DenseAttentionHead(6)).eval()
    assert model(X).shape == (2, 5, 1)
    assert len(list(model.parameters())) == 9


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_trace_is_refused() -> None:
    block, inputs = make(pn.SequenceEncoder)
    with pytest.raises(RuntimeError, match="a trace of this forward would be wrong"):
        torch.jit.trace(block, inputs)


@pytest.mark.parametrize("name", [module.name for module in pkgutil.iter_modules(pn.__path__)])
def test_examples(name: str) -> None:
    module = importlib.import_module(f"polyscene.nn.{name}")
    results = doctest.testmod(module)
    assert results.attempted > 0
    assert results.failed == 0

"""The mirror over any object that speaks its protocol."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from polyscene._module import Module
from torch import nn


class FakeImpl:
    """Stands for a bound C++ module with children ``a`` and ``a.b``."""

    def __init__(self, names: list[str], children: list[str]) -> None:
        self.named = {name: torch.full((2,), float(k), requires_grad=True) for k, name in enumerate(names)}
        self.modes = dict.fromkeys(["", *children], True)

    def tensors(self) -> list[tuple[str, torch.Tensor, bool]]:
        return [(name, tensor, False) for name, tensor in self.named.items()]

    def children(self) -> list[tuple[str, str, bool]]:
        return [(path, path.upper(), mode) for path, mode in self.modes.items() if path]

    def set_training(self, path: str, on: bool) -> None:
        self.modes[path] = on

    def forward(self, x: torch.Tensor, scale: float = 1.0) -> torch.Tensor:
        return sum(self.named.values()) * x * scale


class Block(Module):
    def __init__(self, names: list[str], children: list[str] = ["a", "a.b"]) -> None:  # noqa: B006
        super().__init__()
        self._mirror(FakeImpl(names, children))


def test_names_types_and_forward() -> None:
    block = Block(["w", "a.w", "a.b.w"])
    assert list(block.state_dict()) == ["w", "a.w", "a.b.w"]
    assert repr(block) == "Block(\n  (a): A(\n    (b): A.B()\n  )\n)"
    assert all(isinstance(tensor, nn.Parameter) for tensor in block.parameters())
    torch.testing.assert_close(block(torch.ones(2), scale=2.0), torch.full((2,), 6.0))


@pytest.mark.parametrize("name", ["forward", "train", "training", "a.parameters", "a.weight.T_destination", "eval"])
def test_names_of_nn_module_are_refused(name: str) -> None:
    children = ["a", "a.weight"] if name.startswith("a.") else ["a"]
    with pytest.raises(TypeError, match=f"has a member '{name.rpartition('.')[2]}', a name that .* has already"):
        Block([name], children)
    with pytest.raises(TypeError, match="rename the member"):
        Block(["w"], ["a", "a.half"])


def test_modes_are_forwarded_one_by_one() -> None:
    block = Block(["w"])
    block.a.eval()
    assert block._impl.modes == {"": True, "a": False, "a.b": False}
    block.a.b.train()
    assert block._impl.modes == {"": True, "a": False, "a.b": True}
    block.training = False
    assert block._impl.modes == {"": False, "a": False, "a.b": True}
    made = copy.deepcopy(block)
    assert made._impl.modes == block._impl.modes


def test_copy_remembers_the_call_and_refers_to_itself() -> None:
    block = Block(names=["w", "a.w"])
    block.me = [block]
    block.a.note = "kept"
    with torch.no_grad():
        block.a.w.fill_(7)
    made = copy.deepcopy(block)
    assert made.me[0] is made
    assert made.a.note == "kept"
    assert torch.equal(made.a.w, block.a.w)
    assert made.a.w is not block.a.w


def test_hook_that_is_a_method_of_the_model_follows_the_copy() -> None:
    block = Block(["w"])
    block.seen = []
    block.register_forward_hook(block_hook)
    made = copy.deepcopy(block)
    made(torch.ones(2))
    assert made.seen == [1]
    assert block.seen == []


def block_hook(module: Any, args: Any, out: torch.Tensor) -> None:
    module.seen.append(1)


def test_blocks_can_be_traced() -> None:
    block = Block(["w", "a.w"])
    traced = torch.jit.trace(block, torch.ones(2))
    torch.testing.assert_close(traced(torch.tensor([3.0, 5.0])), block(torch.tensor([3.0, 5.0])))

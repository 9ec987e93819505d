"""Models that go on from what they were: block by block, by matrices of low rank, or held where it mattered."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import torch

from polyscene._extension import _C
from polyscene._model import Model
from polyscene.transfer._around import Around, State


class LowRank(Around):
    r"""Low-rank adaptation (LoRA) of a copy of a model: Hu et al., ICLR 2022.

    .. math:: W' = W + \tfrac{\alpha}{r} U D, \qquad U = 0 \text{ at the start}

    :math:`W` [..., m, n] is frozen, :math:`U` [..., m, r] and :math:`D` [..., r, n] train; stacks of matrices, those of
    scenes and experts, have a pair each. It is a reparametrisation of tensors by name, so that it works for linear
    layers and lookup tables of every model. Rows of new ids should train in full.

    Args:
        model: what is adapted; it is copied and stays as it is.
        rank: r.
        alpha: the product is scaled by alpha / rank.
        dropout: probability in [0, 1) that an input of the added path is dropped in training: a column of D is 0, or
            else divided by 1 - dropout. The paper's layers draw for each row, here a pass draws for all its rows.
            Lookup tables, whose input is an id, have none. Call ``backward`` before the next pass.
        parameters: names or prefixes of the matrices; empty for all. Unless it is named itself, a matrix is left alone
            where U and D have as many entries as it.
        trained: names or prefixes of parameters that train in full instead, such as the head or rows of new ids.
        lr_scale: times the trainer's learning rate.

    Raises:
        ValueError: options out of range, unknown prefixes, no matrix for which it is a saving.

    Example:
        >>> import polyscene as ps
        >>> from polyscene.transfer import LowRank
        >>> data = ps.testing.tiny_data()
        >>> model = ps.models.MF(data.schema, dim=16)
        >>> adapted = LowRank(model, rank=2)
        >>> history = ps.Trainer(epochs=1).fit(adapted, data)
        >>> adapted.matrices, type(adapted.merge()).__name__
        (['user.weight', 'item.weight'], 'MF')
    """

    def __init__(
        self,
        model: Model,
        *,
        rank: int = 4,
        alpha: float = 4.0,
        dropout: float = 0.0,
        parameters: Sequence[str] = (),
        trained: Sequence[str] = (),
        lr_scale: float = 1.0,
    ) -> None:
        options = {"rank": rank, "alpha": alpha, "parameters": list(parameters), "trained": list(trained)}
        own = copy.deepcopy(model)
        rates = {"dropout": dropout, "lr_scale": lr_scale}
        self._around(own, _C.transfer.LowRank(own._native(), options | rates))

    @property
    def matrices(self) -> list[str]:
        """Names of the matrices that are adapted."""
        return list(self._impl.matrices())

    def merged_state(self) -> State:
        """Parameters and buffers of the model with W' in the place of W, copies."""
        return dict(self._impl.merged())

    def base_state(self) -> State:
        """The same with W: what was adapted, trained parameters as they are now."""
        return dict(self._impl.base())

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drops gradients; between two passes the matrices are plain tensors."""
        self._impl.release()
        super().zero_grad(set_to_none)

    def merge(self) -> Model:
        """A plain model with W' in the place of W; its structure is that of the model that was adapted."""
        return plain(self.model, self.merged_state(), self.training)


class FineTuned(Around):
    r"""A model that goes on block by block: frozen parts, gradual unfreezing, discriminative learning rates.

    .. math:: lr_l = lr / decay^{L - l}

    for block l of L, the lowest first (Howard and Ruder, ACL 2018; freezing: Yosinski et al., NeurIPS 2014). Lookup
    tables are the lowest block, the layers follow as they were made, the head is the top one. Frozen parts are not in
    the optimiser, stay in evaluation mode and keep their statistics; a block that joins starts a new optimiser. It
    shares the parameters of ``model``: train it, then go on with ``model``.

    Args:
        model: what goes on.
        frozen: names or prefixes of parameters that never move.
        top: how many blocks train, from the top; 0 for all, 1 for the head alone (a linear probe).
        gradual: whether blocks join from the top, one every ``block_epochs``.
        block_epochs: epochs from one block that joins to the next.
        decay: what the learning rate is divided by from a block to the one below; the paper takes 2.6.
        reset_head: whether the top block starts anew.
        lr_scale: times the trainer's learning rate.

    Raises:
        ValueError: options out of range, unknown prefixes, nothing left to train, a model with phases of its own.

    Example:
        >>> import polyscene as ps
        >>> from polyscene.transfer import FineTuned
        >>> data = ps.testing.tiny_data()
        >>> tuned = FineTuned(ps.models.WideDeep(data.schema, hidden=[8]), gradual=True, decay=2.6)
        >>> [len(block) for block in tuned.groups], [phase.name for phase in tuned.phases()]
        ([2, 2, 6], ['top 1', 'top 2', 'top 3'])
    """

    def __init__(
        self,
        model: Model,
        *,
        frozen: Sequence[str] = (),
        top: int = 0,
        gradual: bool = False,
        block_epochs: int = 1,
        decay: float = 1.0,
        reset_head: bool = False,
        lr_scale: float = 1.0,
    ) -> None:
        options = {"frozen": list(frozen), "top": top, "gradual": gradual, "block_epochs": block_epochs}
        options |= {"decay": decay, "reset_head": reset_head, "lr_scale": lr_scale}
        self._around(model, _C.transfer.FineTuned(model._native(), options))

    @property
    def groups(self) -> list[list[str]]:
        """Names of the parameters of each block, the lowest block first."""
        return [list(block) for block in self._impl.blocks()]


class Consolidated(Around):
    r"""A model that trains on without losing what mattered before: elastic weight consolidation.

    .. math:: L = L_{model} + \tfrac{\lambda}{2} \sum_p F_p (\theta_p - \theta^*_p)^2

    (Kirkpatrick et al., PNAS 2017.) :math:`F` is the diagonal Fisher information (:func:`fisher`) of the rows on which
    :math:`\theta^*` was trained; entries with 0, such as rows of tables that no row looked up, are free. For several
    scenes one after another :func:`consolidate` keeps one F (Schwarz et al., ICML 2018). It shares the parameters of
    ``model``.

    Args:
        model: what trains.
        anchor: :math:`\theta^*`, as :func:`state_of` gives.
        importance: F, as :func:`fisher` gives.
        strength: :math:`\lambda`.
        normalize: whether F is divided by its mean over all entries, so that ``strength`` means the same everywhere.
        lr_scale: times the trainer's learning rate.

    Raises:
        ValueError: options out of range, other shapes, information that is negative, no parameter in common.

    Example:
        >>> import polyscene as ps
        >>> from polyscene.transfer import Consolidated, fisher, state_of
        >>> data = ps.testing.tiny_data()
        >>> model = ps.models.MF(data.schema, dim=4)
        >>> held = Consolidated(model, state_of(model), fisher(model, data.train, batches=8), strength=10)
        >>> held.penalty().item()
        0.0
    """

    def __init__(
        self,
        model: Model,
        anchor: Mapping[str, torch.Tensor],
        importance: Mapping[str, torch.Tensor],
        *,
        strength: float = 1.0,
        normalize: bool = True,
        lr_scale: float = 1.0,
    ) -> None:
        options = {"strength": strength, "normalize": normalize, "lr_scale": lr_scale}
        self._around(model, _C.transfer.Consolidated(model._native(), dict(anchor), dict(importance), options))

    @property
    def unmatched(self) -> list[str]:
        """Parameters of the model that are free: the anchor or the information lacks them."""
        return list(self._impl.unmatched)

    def penalty(self) -> torch.Tensor:
        """The penalty at the present parameters, without its strength, []."""
        return self._impl.penalty()


def consolidate(before: Mapping[str, torch.Tensor], now: Mapping[str, torch.Tensor], gamma: float = 0.95) -> State:
    r"""Online elastic weight consolidation: the information of all scenes so far in one.

    .. math:: F \leftarrow \gamma F + F_{now}

    (Schwarz et al., ICML 2018.) The anchor is then the newest parameters alone.

    Args:
        before: information of the scenes before; empty for none.
        now: that of the newest scene.
        gamma: what is kept of the former, in [0, 1].

    Raises:
        ValueError: ``gamma`` out of range, or other parameters.

    Example:
        >>> import torch
        >>> consolidate({"w": torch.tensor([1.0, 0.0])}, {"w": torch.tensor([0.0, 2.0])}, gamma=0.5)["w"]
        tensor([0.5000, 2.0000])
    """
    if not 0 <= gamma <= 1:
        raise ValueError(f"consolidate: gamma must lie in [0, 1], got {gamma}")
    if before and set(before) != set(now):
        raise ValueError(f"consolidate: other parameters: {', '.join(sorted(set(before) ^ set(now)))}")
    return {name: gamma * before[name] + value if before else value.clone() for name, value in now.items()}


def plain(model: Model, state: Mapping[str, torch.Tensor], training: bool) -> Model:
    """A copy of a model with a state, all of whose parameters train."""
    out = copy.deepcopy(model)
    out.load_state_dict(state)
    for parameter in out.parameters():
        if parameter.is_floating_point():
            parameter.requires_grad_(True)
    return out.train(training)

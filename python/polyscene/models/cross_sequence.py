"""Models of task sequence that tell scenes apart: views of each beside all of them, or interests that move."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from polyscene._model import Model
from polyscene.models import _sequence_forms as forms


class C2DSR(Model):
    r"""C2DSR (Cao et al., CIKM 2022) over any number of scenes: what follows, from all scenes and from each by itself.

    .. math:: r_i = (H_t + H^s_t) \cdot q_i + c_i, \qquad z = Q + \overline{X_l}, \qquad X_{l+1} = A X_l + b_l

        L = (1 - c) (L_{CE}(H) + L_{CE}(H + H^s)) + c \sum_s \overline{-\log \sigma(g' M_s h_s + m_s)
        - \log(1 - \sigma(\tilde g' M_s h_s + m_s))}

    H follows the events of all scenes, :math:`H^s` those of the scene, each by an encoder of SASRec's form with tables
    of its own, whose items first gather from what came after them in training (A, row by row the shares of what came
    next). Neither sees a later item; with ``positions="newest"`` a step of training knows how many more events of each
    scene the window holds. :math:`h_s` is the mean of :math:`H^s` in a window, g that of H over the events of other
    scenes, and :math:`\tilde g` the same after the items of s were replaced by drawn ones: the contrast asks which is
    real. Windows of one scene are not contrasted, and somebody without events of a scene is served there from those of
    others. With two scenes this is the paper's model. The authors' program differs: each softmax has a class for
    padding, means count padding and no more than the newest ten steps, windows without both scenes are left out, one
    item is lost, and attention sees padding and has an output layer (``dim=256`` and ``joined_at="own"`` come near it).
    Positions count from the "oldest" event, as there. Here the means of the contrast run over all events of a window,
    and an item of several scenes has one q for all of them. Tasks: sequence.

    Args:
        schema: vocabularies and scenes of the data, with a user and an item column.
        dim: width of the items' vectors.
        max_length: events that are followed, the newest; longer pasts are cut into windows.
        scope: "overall".
        dropout: of embedded events, attention weights, inner layers and the layers of the graph.
        loss: "ce".
        negatives: not used.
        sampler: not used.
        layers: blocks of each encoder.
        heads: of each attention; must divide dim.
        graph_layers: how often the graph of what followed what is walked; 0 for never.
        contrast: share of the contrast in the loss (c), in [0, 1); 0 for none.
        joined_at: which state of all scenes joins that of the scene in training: after the "newest" event, as in
            serving, or after the scene's "own" newest one, as in the authors' program.
        positions: where they are counted from, the "oldest" event or the "newest" (sequences padded on the left).

    Example:
        >>> import polyscene as ps
        >>> data = ps.testing.tiny_data("sequence")
        >>> model = C2DSR(data.schema, dim=8)
        >>> model(ps.testing.batch(data, 4)).shape[0], model.loss(ps.testing.batch(data, 4)).ndim
        (4, 0)
    """

    _cpp_name = "c2dsr"


class TriCDR(Model):
    r"""Tri-CDR (Ma et al., TOIS 2024) over any number of scenes: three views of a past, asked by the newest own state.

    .. math:: r_i = \tau \cos(f, q_i), \qquad f = W_2\, \text{lrelu}(W_1 [m; d; g] + b_1) + b_2

        v = \sum_j \text{softmax}_j(\text{MLP}([k_j; u; k_j * u; u - k_j; \bar k]))\, k_j
        \quad \text{for } v \in \{m, d, g\}

    The views are the events of all scenes (m), those of the other scenes (d) and of the scene itself (g), up to what
    followed and no later item, as states of encoders of SASRec's form; u is the state after the scene's newest event, 0
    before any. The loss adds a contrast between the views at the newest step of each window (NT-Xent over the windows
    of a batch that have events of both kinds) and their order, which wants d nearer to m than to g by ``margin``. With
    two scenes it is the paper's model in both directions at once. Where the paper starts from encoders that were
    trained alone, ``warm_up`` epochs train them here. The authors' program takes the test rows to decide when to stop,
    counts each row itself among its rivals before it takes that out again, and is told by the name of the data which
    encoder is whose; its attention has an output layer. A training loop of one's own must call ``begin_phase`` for each
    of ``phases()``, or the model stays in the warm-up. A step takes memory for every pair of an event and one before
    it. Tasks: sequence.

    Args:
        schema: vocabularies and scenes of the data, with a user and an item column.
        dim: width of the items' vectors.
        max_length: events that are followed, the newest; longer pasts are cut into windows.
        scope: "overall".
        dropout: of embedded events, attention weights of the encoders and inner layers.
        loss: "bce" (the paper), "bpr", or "ce" over the items of the scene.
        negatives: items drawn beside each that followed, none of which the user met there.
        sampler: "uniform", "popularity" or "in_batch".
        layers: blocks of each encoder.
        heads: of each attention of the encoders; must divide dim.
        attention_hidden: hidden widths of the attention over views.
        scale: what cosines are multiplied with (:math:`\tau`).
        contrast: weight of the contrast between views; 0 for none.
        contrast_shares: shares of its three pairs: m and d, m and g, d and g.
        temperature: of the contrast.
        triplet: weight of the order of the views; 0 for none.
        margin: by how much d shall be nearer to m.
        warm_up: epochs of the encoders alone, in a stage of their own.
        positions: where they are counted from, the "oldest" event or the "newest" (sequences padded on the left).

    Example:
        >>> import polyscene as ps
        >>> data = ps.testing.tiny_data("sequence")
        >>> model = TriCDR(data.schema, dim=8)
        >>> model(ps.testing.batch(data, 4)).shape[0], model.loss(ps.testing.batch(data, 4)).ndim
        (4, 0)
    """

    _cpp_name = "tri_cdr"


class InterestSequence(Model):
    r"""Interest migration for events: which interests somebody has, which one and which scene come next, which item.

    .. math::
        h_t = \text{encoder}(x_1 .. x_t), \quad c_t = \text{attention}(h_t; h_1 .. h_t), \quad
        y_t = \sigma(W_h [c_t; h_t] + b_h)

        p(y_{t+1} | y_t) = \text{softmax}(W_p [c_t; y_t] + b_p + y_t A_{s_t, s}), \qquad
        p(s_{t+1}) = \text{softmax}(W_s [c_t; y_t] + b_s + \log n_{s_t, s_{t+1}})

        v_k = \sum_{j \le t} \text{softmax}_j(u_k \cdot \tanh(W_a h_j + b_a) + a_{k, t - j} + b_{k, gap}
        + c_{k, s, s_j})\, h_j, \qquad
        r_i = (W_z [c_t; h_t; \textstyle\sum_k p_k v_k] + b_z + W_m p + o_s) \cdot q_i

    :class:`InterestMigration` for task sequence. :math:`x_j` are an event's item, scene and interests, s is the scene
    that is asked for. Each interest extracts a vector of its own (ComiRec-SA; Cen et al., KDD 2020) by an attention
    that knows how many events and how much time ago something was, in powers of two seconds, and of which scene (c:
    asked scene, event's scene). A is what an ordered pair of scenes adds to the move of interests; n are the shares of
    scenes that followed each scene in training rows, where the next scene starts. The interests that are expected next
    weigh the vectors. The loss is that of the items and, by their weights, of the interests of an event, of the event
    after it, and of its scene. Without an interest column interests are latent, and only items and scenes teach.
    ``explain`` gives attention [B, K, T], interests and transitions [B, K] and next_scene [B, S];
    ``transition_matrix`` how interests move from scene to scene. Tasks: sequence.

    Args:
        schema: vocabularies and scenes of the data, with a user and an item column.
        dim: width of the items' vectors and of all states.
        max_length: events that are followed, the newest; longer pasts are cut into windows.
        scope: "overall".
        dropout: of embedded events, states and attention weights.
        loss: "ce" over the items of the scene, "bce" or "bpr" against drawn ones.
        negatives: items drawn beside each that followed, none of which the user met there.
        sampler: "uniform", "popularity" or "in_batch".
        encoder: "gru", "lstm", "cnn" or "transformer".
        layers: of the encoder.
        heads: of the attention over states; must divide dim.
        interests: latent interests where the data names none.
        transition: "softmax" for one next interest, "bernoulli" for each interest on its own.
        gaps: whether what an interest reads depends on how long ago an event was.
        interest_weight: weight of the loss of the interests at an event.
        transition_weight: weight of the loss of the next interest.
        scene_weight: weight of the loss of the next scene.

    Example:
        >>> import polyscene as ps
        >>> data = ps.testing.tiny_data("sequence")
        >>> model = InterestSequence(data.schema, dim=8)
        >>> found = model.explain(ps.testing.batch(data, 4))
        >>> found["transitions"].shape, found["next_scene"].shape
        (torch.Size([4, 5]), torch.Size([4, 3]))
    """

    _cpp_name = "interest_sequence"

    def export_form(self) -> nn.Module:
        """As that of :class:`SASRec`."""
        return forms.InterestSequenceForm(self)

    def export_inputs(self, batch: Any) -> tuple[torch.Tensor, ...]:
        """As that of :class:`SASRec`, then scene and time (seconds) of each event, int64 [B, T].

        Data with interests add those of the events, multi-hot float [B, T, K].
        """
        events, columns = batch.history, []
        if events is not None:
            columns = [events.scene, events.time]
            columns += [forms.interests(events, len(self.schema.interests))] if self.schema.interests else []
        return forms.past(batch, "overall", self.history_length, *columns)

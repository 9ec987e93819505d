"""Neural blocks: attentions, encoders, fusion, heads of images, the MLP, masks and losses, on plain tensors.

:class:`FeatureEmbedding` alone takes a batch.

Letters: B batch, T time, D input width, H hidden width, P points. Masks are true for what takes part; sequences are
padded on the right.
"""

from __future__ import annotations

from polyscene.nn._block import Attended, Block, Points
from polyscene.nn.attention import (
    Attention,
    AttentionScore,
    DenseAttentionHead,
    Gating,
    MultiHeadAttention,
    PairAttention,
    TemporalAttention,
    additive_scores,
    bilinear_scores,
    cosine_scores,
    dot_scores,
    scaled_dot_scores,
)
from polyscene.nn.embedding import FeatureEmbedding
from polyscene.nn.functional import (
    attention_mask,
    causal_mask,
    last_state,
    masked_softmax,
    pad_ragged,
    padding_mask,
    ragged_attention,
    unpad_ragged,
)
from polyscene.nn.fusion import Fusion
from polyscene.nn.image import ImageAugment, ImageEncoder
from polyscene.nn.layers import MLP, ConvEncoder, InterestPoints, SequenceEncoder, TransformerEncoder
from polyscene.nn.losses import (
    bce_with_logits,
    bpr,
    bpr_max,
    coral,
    distillation,
    embedding_l2,
    migration_loss,
    mmd,
    reversal_strength,
    reverse_gradient,
    segmentation_loss,
    softmax_loss,
    squared_error,
    top1,
)
from polyscene.nn.maps import Boxes, CenterHead, CenterTargets, UNet, gaussian_radius
from polyscene.nn.text import TextEncoder

__all__ = [
    "MLP",
    "Attended",
    "Attention",
    "AttentionScore",
    "Block",
    "Boxes",
    "CenterHead",
    "CenterTargets",
    "ConvEncoder",
    "DenseAttentionHead",
    "FeatureEmbedding",
    "Fusion",
    "Gating",
    "ImageAugment",
    "ImageEncoder",
    "InterestPoints",
    "MultiHeadAttention",
    "PairAttention",
    "Points",
    "SequenceEncoder",
    "TemporalAttention",
    "TextEncoder",
    "TransformerEncoder",
    "UNet",
    "additive_scores",
    "attention_mask",
    "bce_with_logits",
    "bilinear_scores",
    "bpr",
    "bpr_max",
    "causal_mask",
    "coral",
    "cosine_scores",
    "distillation",
    "dot_scores",
    "embedding_l2",
    "gaussian_radius",
    "last_state",
    "masked_softmax",
    "migration_loss",
    "mmd",
    "pad_ragged",
    "padding_mask",
    "ragged_attention",
    "reversal_strength",
    "reverse_gradient",
    "scaled_dot_scores",
    "segmentation_loss",
    "softmax_loss",
    "squared_error",
    "top1",
    "unpad_ragged",
]

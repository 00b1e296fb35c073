"""RQ-VAE and CRQ-VAE: an autoencoder whose latent is quantised in D steps, each on what the steps before left over.

RQ-VAE (Lee et al., CVPR 2022; TIGER, NeurIPS 2023): reconstruction + per layer |sg(r) - e|^2 + .25 |r - sg(e)|^2.
CRQ-VAE (HiGR, arXiv 2512.24787) adds to it
- the global quantisation loss |sg(z) - z^|^2 + .25 |z - sg(z^)|^2 (in the paper it replaces the per-layer loss, which
  lets the layers drift together: the weight 1 of the per-layer loss is ours);
- InfoNCE over the codewords that anchor and positive chose, layer by layer, without the last.

Losses are sums over dimensions and means over the batch. Shapes: B items, e dims of the codes, D levels, K codes.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..training.seeds import seed_of
from .positives import Positives
from .quantiser import residual_kmeans

WIDTHS = (256, 128, 64)  # of the encoder's layers; the last is e
AUTOENCODER_STEPS = 100
BATCH = 512
LEARNING_RATE = 1e-3
WARMUP = 50
COMMITMENT = 0.25
REVIVE_EVERY = 100  # steps, up to REVIVE_UNTIL of the training
REVIVE_UNTIL = 0.8
CONTRAST, TEMPERATURE = 0.1, 0.1  # lambda_2 and tau
LAYER_WEIGHTS = (1.0, 0.1)  # w_1, w_2; the last of them for all further layers

Layers = tuple[tuple[np.ndarray, np.ndarray], ...]


class ResidualQuantizer(nn.Module):
    """D codebooks [D, K, e] on residuals."""

    def __init__(self, codebooks: Tensor) -> None:
        super().__init__()
        self.codebooks = nn.Parameter(codebooks.clone())

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Codes [B, D], residuals before each level [B, D, e] and the chosen codewords [B, D, e]."""
        codes, residuals, words = [], [], []
        residual = z
        for codebook in self.codebooks:
            code = (residual.detach() @ codebook.detach().T - 0.5 * codebook.detach().pow(2).sum(1)).argmax(1)
            word = codebook[code]
            codes.append(code)
            residuals.append(residual)
            words.append(word)
            residual = residual - word.detach()
        return torch.stack(codes, 1), torch.stack(residuals, 1), torch.stack(words, 1)

    @torch.no_grad()
    def revive(self, residuals: Tensor, used: Tensor, generator: torch.Generator) -> int:
        """Put each code that no item used since the last time on a random residual [B, D, e] of its level."""
        revived = 0
        for level, alive in enumerate(used):
            dead = (~alive).nonzero()[:, 0]
            picks = torch.randint(len(residuals), (len(dead),), generator=generator)
            self.codebooks[level, dead] = residuals[picks, level]
            revived += len(dead)
        return revived


def quantisation_loss(before: Tensor, after: Tensor, commitment: float = COMMITMENT) -> Tensor:
    """|sg(before) - after|^2 + commitment |before - sg(after)|^2, summed over the last dimension, mean over others."""
    codebook = (before.detach() - after).pow(2).sum(-1)
    return (codebook + commitment * (before - after.detach()).pow(2).sum(-1)).mean()


def prefix_contrast(anchor: Tensor, positive: Tensor, codes: Tensor) -> Tensor:
    """InfoNCE of one layer: -log of the positive's share among it and the batch's other anchors, by cosine.

    Anchors of the same code are no negatives: their cosine is 1 whatever one does.

    Args:
        anchor: codewords [B, e] with a gradient to both encoder and codebook: see `both_ways`.
        positive: likewise, of the anchors' positives.
        codes: of the anchors [B].
    """
    anchor, positive = F.normalize(anchor, dim=-1), F.normalize(positive, dim=-1)
    negatives = (anchor @ anchor.T).masked_fill(codes[:, None] == codes[None], -math.inf)  # [B, B]
    logits = torch.cat([(anchor * positive).sum(-1, keepdim=True), negatives], dim=1) / TEMPERATURE
    return -logits.log_softmax(dim=1)[:, 0].mean()


def both_ways(words: Tensor, residuals: Tensor) -> Tensor:
    """Value: the codewords; gradient: to the codebook and, straight through, to the encoder."""
    return words + (residuals - residuals.detach())


def _mlp(widths: list[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i, (a, b) in enumerate(pairwise(widths)):
        layers += [nn.Linear(a, b)] + ([nn.ReLU()] if i < len(widths) - 2 else [])
    return nn.Sequential(*layers)


def fit_rqvae(
    vectors: np.ndarray, levels: int, codes: int, steps: int, seed: int, positives: Positives | None
) -> tuple[np.ndarray, Layers]:
    """Train RQ-VAE, or CRQ-VAE where there are positives.

    100 steps as a plain autoencoder, k-means of the residuals of the whole catalogue as first codebooks, then `steps`
    steps of AdamW with warm-up and cosine; codes that nothing uses are put on random residuals now and then.

    Args:
        vectors: item vectors [N, d].
        levels: D.
        codes: K.
        steps: after the autoencoder's.
        seed: of everything random.
        positives: of the contrast; None = RQ-VAE.

    Returns:
        Codebooks [D, K, e] and the encoder's layers.
    """
    x = torch.tensor(vectors, dtype=torch.float32)
    rng = np.random.default_rng(seed_of(seed, "tokenizer"))
    generator = torch.Generator().manual_seed(seed_of(seed, "revive"))
    with torch.random.fork_rng():
        torch.manual_seed(seed_of(seed, "tokenizer", "init"))
        widths = [x.shape[1], *(min(w, x.shape[1]) for w in WIDTHS)]
        encoder, decoder = _mlp(widths), _mlp(widths[::-1])
    with torch.no_grad():  # inputs of unit length have tiny coordinates: start the squared error near 1
        x = x / x.pow(2).sum(1).mean().sqrt()
    batches = _batches(len(x), rng)
    _train_autoencoder(encoder, decoder, x, batches)
    with torch.no_grad():
        first = residual_kmeans(encoder(x).numpy(), levels, codes, seed_of(seed, "kmeans") % 2**31)
    quantizer = ResidualQuantizer(torch.from_numpy(first))
    optimizer = _optimizer(encoder, decoder, quantizer)
    used = torch.zeros(levels, codes, dtype=torch.bool)
    for step in range(steps):
        _set_rate(optimizer, step, steps)
        rows = next(batches)
        z = encoder(x[rows])
        chosen, residuals, words = quantizer(z)
        quantised = words.sum(1)
        straight = z + (quantised - z).detach()
        loss = (decoder(straight) - x[rows]).pow(2).sum(-1).mean() + levels * quantisation_loss(residuals, words)
        if positives is not None:
            loss = loss + quantisation_loss(z, quantised)
            loss = loss + CONTRAST * _contrast(rows, (chosen, residuals, words), positives, rng, encoder, quantizer, x)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], 1.0)
        optimizer.step()
        used.scatter_(1, chosen.T, True)
        if (step + 1) % REVIVE_EVERY == 0:
            if step + 1 <= REVIVE_UNTIL * steps:
                quantizer.revive(residuals.detach(), used, generator)
            used.zero_()
    scale = float(torch.tensor(vectors).pow(2).sum(1).mean().sqrt())
    return quantizer.codebooks.detach().numpy().copy(), _layers_of(encoder, scale)


def _contrast(
    rows: np.ndarray,
    anchors: tuple[Tensor, Tensor, Tensor],
    positives: Positives,
    rng: np.random.Generator,
    encoder: nn.Module,
    quantizer: ResidualQuantizer,
    x: Tensor,
) -> Tensor:
    """Mean over all layers but the last of the weighted prefix contrast."""
    partner = positives.draw(rows, rng)
    known = torch.from_numpy(np.flatnonzero(partner >= 0))
    if len(known) < 2 or anchors[0].shape[1] < 2:
        return torch.zeros(())
    _, residuals, words = quantizer(encoder(x[partner[known.numpy()]]))
    total = torch.zeros(())
    layers = words.shape[1] - 1
    for layer in range(layers):
        anchor = both_ways(anchors[2][known, layer], anchors[1][known, layer])
        positive = both_ways(words[:, layer], residuals[:, layer])
        weight = LAYER_WEIGHTS[min(layer, len(LAYER_WEIGHTS) - 1)]
        total = total + weight * prefix_contrast(anchor, positive, anchors[0][known, layer])
    return total / layers


def _batches(n: int, rng: np.random.Generator):
    """Rows of BATCH items (fewer where there are fewer), epoch after epoch, forever."""
    while True:
        order = rng.permutation(n)
        for start in range(0, max(1, n - BATCH + 1), BATCH):
            yield order[start : start + BATCH]


def _optimizer(*modules: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW([p for module in modules for p in module.parameters()], lr=LEARNING_RATE)


def _set_rate(optimizer: torch.optim.Optimizer, step: int, steps: int) -> None:
    """Linear warm-up, then a cosine down to 5 %."""
    share = min(1.0, (step - WARMUP) / max(1, steps - WARMUP))
    factor = (step + 1) / WARMUP if step < WARMUP else 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * share))
    for group in optimizer.param_groups:
        group["lr"] = LEARNING_RATE * factor


def _train_autoencoder(encoder: nn.Module, decoder: nn.Module, x: Tensor, batches) -> None:
    optimizer = _optimizer(encoder, decoder)
    for step in range(AUTOENCODER_STEPS):
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * min(1.0, (step + 1) / WARMUP)
        batch = x[next(batches)]
        loss = (decoder(encoder(batch)) - batch).pow(2).sum(-1).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()


def _layers_of(encoder: nn.Sequential, scale: float) -> Layers:
    """Weights and biases as arrays; the scale of the input is taken into the first weight."""
    linear = [layer for layer in encoder if isinstance(layer, nn.Linear)]
    layers = [(layer.weight.detach().numpy().copy(), layer.bias.detach().numpy().copy()) for layer in linear]
    return ((layers[0][0] / np.float32(scale), layers[0][1]), *layers[1:])

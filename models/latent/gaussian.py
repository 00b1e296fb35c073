"""Gaussian diffusion in one page: schedules, targets, sampling steps, guidance.

Symbols as in the papers: beta_t, abar_t = prod_{i<=t} (1 - beta_i), alpha = sqrt(abar_t), sigma = sqrt(1 - abar_t),

    q(x_t | x_0) = N(alpha x_0, sigma^2 I),    t = 0..T-1 (T-1 = noisiest).

A schedule is the float64 tensor abar [T]. Steps go from x_t to x_s (s < t); the last goes to abar_s = 1, the data.
They take abar as Python floats, so that a sampling loop on a GPU never waits for the host.

Sources: DDPM (2006.11239), DDIM (2010.02502), improved DDPM (2102.09672: cosine), v-prediction (2202.00512),
classifier-free guidance (2207.12598), DPM-Solver++ (2211.01095), zero terminal SNR and rescaled guidance (2305.08891).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

Target = Literal["v", "x0", "noise"]
Sampler = Literal["ddim", "ddpm", "dpm++"]
Spacing = Literal["trailing", "leading", "linspace"]
ScheduleName = Literal["cosine", "linear"]

T = 1000  # diffusion times of a fit

# --- schedules -------------------------------------------------------------------------------------


def linear_schedule(T: int, beta_first: float = 1e-4, beta_last: float = 0.02) -> Tensor:
    """abar [T] of linearly growing beta (DDPM)."""
    return torch.cumprod(1 - torch.linspace(beta_first, beta_last, T, dtype=torch.float64), dim=0)


def cosine_schedule(T: int, offset: float = 0.008, beta_max: float = 0.999) -> Tensor:
    """abar [T] of the cosine schedule: abar(u) = cos^2((u + offset) / (1 + offset) pi / 2), beta <= `beta_max`."""
    u = torch.arange(T + 1, dtype=torch.float64) / T
    abar = torch.cos((u + offset) / (1 + offset) * math.pi / 2) ** 2
    return torch.cumprod(1 - (1 - abar[1:] / abar[:-1]).clamp(max=beta_max), dim=0)


def zero_terminal_snr(abar: Tensor) -> Tensor:
    """Shift and scale sqrt(abar) so that the last step is pure noise (abar_{T-1} = 0) and the first stays as it is."""
    root = abar.sqrt()
    return ((root - root[-1]) * root[0] / (root[0] - root[-1])) ** 2


@cache
def schedule(name: ScheduleName, T: int) -> Tensor:
    """abar [T] of the named schedule at zero terminal SNR: sampling starts from pure noise, so must training.

    The same tensor at every call: not to be changed in place.
    """
    return zero_terminal_snr({"cosine": cosine_schedule, "linear": linear_schedule}[name](T))


# --- forward process and targets: v = alpha eps - sigma x_0 ------------------------------------------


def add_noise(x0: Tensor, eps: Tensor, abar: Tensor) -> Tensor:
    """x_t ~ q(x_t | x_0) for the noise `eps`; `abar` broadcasts against x0."""
    return abar.sqrt() * x0 + (1 - abar).sqrt() * eps


def target_of(target: Target, x0: Tensor, eps: Tensor, abar: Tensor) -> Tensor:
    """What a network trained on `target` must predict at x_t."""
    if target == "v":
        return abar.sqrt() * eps - (1 - abar).sqrt() * x0
    return x0 if target == "x0" else eps


def x0_and_noise(target: Target, output: Tensor, x_t: Tensor, abar: float) -> tuple[Tensor, Tensor]:
    """The data and the noise that the network's `output` at x_t speaks of.

    Raises:
        ZeroDivisionError: where the target does not determine both (noise at abar = 0, x0 at abar = 1).
    """
    alpha, sigma = math.sqrt(abar), math.sqrt(1 - abar)
    if target == "v":
        return alpha * x_t - sigma * output, sigma * x_t + alpha * output
    if target == "x0":
        return output, (x_t - alpha * output) * (1 / sigma)
    return (x_t - sigma * output) * (1 / alpha), output


# --- steps from t to s ------------------------------------------------------------------------------


def ddim_step(
    x0: Tensor, eps: Tensor, abar_t: float, abar_s: float, eta: float = 0.0, z: Tensor | None = None
) -> Tensor:
    """DDIM: x_s = sqrt(abar_s) x0 + sqrt(1 - abar_s - tau^2) eps + tau z, where tau is eta times DDPM's deviation."""
    tau = eta * math.sqrt((1 - abar_s) / (1 - abar_t) * (1 - abar_t / abar_s))
    x_s = math.sqrt(abar_s) * x0 + math.sqrt(max(1 - abar_s - tau**2, 0.0)) * eps
    return x_s if z is None or tau == 0 else x_s + tau * z


def ddpm_step(x_t: Tensor, x0: Tensor, abar_t: float, abar_s: float, z: Tensor | None = None) -> Tensor:
    """DDPM: mean of the posterior q(x_s | x_t, x_0), plus its deviation times z (without z: the mean alone)."""
    alpha_ts = abar_t / abar_s  # alpha_t of the paper where s = t - 1
    beta_ts = 1 - alpha_ts
    mean = (math.sqrt(abar_s) * beta_ts * x0 + math.sqrt(alpha_ts) * (1 - abar_s) * x_t) * (1 / (1 - abar_t))
    return mean if z is None else mean + math.sqrt((1 - abar_s) / (1 - abar_t) * beta_ts) * z


def log_snr_half(abar: float) -> float:
    """lambda = log(alpha / sigma); -inf at pure noise, +inf at the data."""
    if abar <= 0:
        return -math.inf
    return math.inf if abar >= 1 else 0.5 * (math.log(abar) - math.log1p(-abar))


def dpm_step(
    x_t: Tensor,
    x0: Tensor,
    abar_t: float,
    abar_s: float,
    x0_before: Tensor | None = None,
    abar_before: float | None = None,
) -> Tensor:
    """DPM-Solver++(2M), midpoint form; first order without the step before, and on the last step (abar_s = 1)."""
    h = log_snr_half(abar_s) - log_snr_half(abar_t)
    D = x0
    if x0_before is not None and abar_before is not None and abar_s < 1:
        h_before = log_snr_half(abar_t) - log_snr_half(abar_before)  # infinite after a start at zero SNR: first order
        D = x0 + (0.5 * h / h_before) * (x0 - x0_before)
    return math.sqrt((1 - abar_s) / (1 - abar_t)) * x_t - math.sqrt(abar_s) * math.expm1(-h) * D


# --- sampling -----------------------------------------------------------------------------------------


def timesteps(T: int, steps: int, spacing: Spacing = "trailing") -> list[int]:
    """The `steps` times t at which the network is asked, noisiest first (names as in 2305.08891)."""
    if not 1 <= steps <= T:
        raise ValueError(f"steps must lie between 1 and {T}, got {steps}")
    if spacing == "trailing":  # ends at T - 1: starts from pure noise
        return [round(T - i * T / steps) - 1 for i in range(steps)]
    if spacing == "leading":  # starts at 0: never sees pure noise
        return [i * (T // steps) for i in reversed(range(steps))]
    return torch.linspace(0, T - 1, steps, dtype=torch.float64).round().long().flip(0).tolist()


def guided(conditional: Tensor, unconditional: Tensor, guidance: float, rescale: float = 0.0) -> Tensor:
    """Classifier-free guidance: unconditional + guidance (conditional - unconditional).

    With `rescale` phi > 0 the result is drawn towards the deviation (over all but the first axis) of the conditional.
    """
    output = torch.lerp(unconditional, conditional, guidance)
    if rescale == 0:
        return output
    axes = tuple(range(1, output.ndim))
    ratio = conditional.std(axes, keepdim=True) / output.std(axes, keepdim=True)
    return output * (rescale * ratio + (1 - rescale))


def sample(
    predict: Callable[[Tensor, int], Tensor],
    x: Tensor,
    abar: Tensor,
    times: list[int],
    *,
    target: Target = "v",
    sampler: Sampler = "ddim",
    eta: float = 0.0,
    noise: Callable[[], Tensor] | None = None,
) -> Tensor:
    """x_0 from x_T along `times`.

    Args:
        predict: (x_t, i) -> the network's output [like x] at times[i].
        x: start noise.
        abar: the schedule [T].
        times: from `timesteps`.
        target: what the network predicts.
        sampler: ddim (with eta), ddpm, or dpm++ (deterministic).
        eta: DDIM's share of fresh noise (0 none, 1 as much as DDPM).
        noise: fresh standard normal noise [like x]; needed by ddpm and by ddim with eta > 0.
    """
    fresh = noise if sampler == "ddpm" or (sampler == "ddim" and eta > 0) else None
    path = [*abar[times].tolist(), 1.0]
    x0_before, abar_before = None, None
    for i, (abar_t, abar_s) in enumerate(pairwise(path)):
        x0, eps = x0_and_noise(target, predict(x, i), x, abar_t)
        z = fresh() if fresh is not None and abar_s < 1 else None
        if sampler == "ddim":
            x = ddim_step(x0, eps, abar_t, abar_s, eta, z)
        elif sampler == "ddpm":
            x = ddpm_step(x, x0, abar_t, abar_s, z)
        else:
            x = dpm_step(x, x0, abar_t, abar_s, x0_before, abar_before)
            x0_before, abar_before = x0, abar_t
    return x

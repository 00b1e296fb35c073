"""Diffusion against diffusers' schedulers and against distributions whose denoiser is known in closed form."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from slatebench.models.latent import gaussian as g

T = 1000
KIND = {"cosine": "squaredcos_cap_v2", "linear": "linear"}
OURS = {"cosine": g.cosine_schedule, "linear": g.linear_schedule}
PREDICTION = {"v": "v_prediction", "x0": "sample", "noise": "epsilon"}


def scheduler(kind, name, zero_snr=False, **options):
    import diffusers

    return getattr(diffusers, kind)(
        num_train_timesteps=T,
        beta_schedule=KIND[name],
        beta_start=1e-4,
        beta_end=0.02,
        rescale_betas_zero_snr=zero_snr,
        **options,
    )


@pytest.mark.parametrize("name", ["cosine", "linear"])
def test_schedules_equal_diffusers(name):
    theirs = scheduler("DDIMScheduler", name).alphas_cumprod.double()
    assert torch.allclose(OURS[name](T), theirs, atol=2e-6)
    theirs = scheduler("DDIMScheduler", name, zero_snr=True).alphas_cumprod.double()
    assert torch.allclose(g.schedule(name, T), theirs, atol=1e-5)
    assert g.schedule(name, T)[-1] == 0


@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
@pytest.mark.parametrize("steps", [1, 2, 3, 5, 10, 50, 999, 1000])
def test_spacing_equals_diffusers(spacing, steps):
    theirs = scheduler("DDIMScheduler", "linear", timestep_spacing=spacing)
    theirs.set_timesteps(steps)
    assert g.timesteps(T, steps, spacing) == theirs.timesteps.tolist()


@pytest.mark.parametrize("target", ["v", "x0", "noise"])
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("name", ["cosine", "linear"])
def test_ddim_step_equals_diffusers(name, eta, target):
    theirs = scheduler("DDIMScheduler", name, clip_sample=False, prediction_type=PREDICTION[target])
    theirs.set_timesteps(20)
    abar = theirs.alphas_cumprod.tolist()
    x, out, z = torch.randn(3, 2, 4, 5, generator=torch.Generator().manual_seed(0)).unbind(0)
    for t, s in ((950, 900), (500, 450), (50, 0), (0, None)):
        expected = theirs.step(out, t, x, eta=eta, variance_noise=z).prev_sample
        abar_s = abar[s] if s is not None else 1.0
        x0, eps = g.x0_and_noise(target, out, x, abar[t])
        assert torch.allclose(g.ddim_step(x0, eps, abar[t], abar_s, eta, z), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["cosine", "linear"])
@pytest.mark.parametrize("steps", [20, 1000])
def test_ddpm_step_equals_diffusers(name, steps, monkeypatch):
    import diffusers.schedulers.scheduling_ddpm as module

    theirs = scheduler("DDPMScheduler", name, clip_sample=False, prediction_type="v_prediction")
    theirs.set_timesteps(steps)
    theirs.alphas_cumprod = theirs.alphas_cumprod.double()  # 1 - abar_t / abar_s loses all digits in float32
    abar, gap = theirs.alphas_cumprod.tolist(), T // steps
    x, out, z = torch.randn(3, 2, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).unbind(0)
    monkeypatch.setattr(module, "randn_tensor", lambda *_, **__: z)
    for t in (T - gap, T // 2, gap, 0):
        expected = theirs.step(out, t, x).prev_sample
        abar_s = abar[t - gap] if t else 1.0
        x0, _ = g.x0_and_noise("v", out, x, abar[t])
        assert torch.allclose(g.ddpm_step(x, x0, abar[t], abar_s, z), expected, atol=1e-5, rtol=1e-5)


def network(x: torch.Tensor, t: float) -> torch.Tensor:
    """A smooth stand-in for a network's v."""
    return torch.sin(x * 1.3 + t / T) + 0.1 * x


def along(scheduler_, steps, x, **options):
    scheduler_.set_timesteps(steps)
    for t in scheduler_.timesteps:
        x = scheduler_.step(network(x, float(t)), t, x, **options).prev_sample
    return x


def run(x, abar, steps, **options):
    times = g.timesteps(T, steps)
    return g.sample(lambda x, i: network(x, times[i]), x, abar, times, **options)


@pytest.mark.parametrize("steps", [1, 5, 20])
def test_whole_ddim_path_equals_diffusers_at_zero_terminal_snr(steps):
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(2))
    theirs = scheduler("DDIMScheduler", "cosine", True, clip_sample=False, prediction_type="v_prediction",
                       timestep_spacing="trailing")  # fmt: skip
    assert torch.allclose(run(x, g.schedule("cosine", T), steps), along(theirs, steps, x), atol=1e-5)


@pytest.mark.parametrize("name", ["cosine", "linear"])
@pytest.mark.parametrize("steps", [2, 5, 10, 20])
def test_dpm_solver_path_equals_diffusers(name, steps):
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(3))
    theirs = scheduler("DPMSolverMultistepScheduler", name, prediction_type="v_prediction", solver_order=2,
                       algorithm_type="dpmsolver++", timestep_spacing="trailing", final_sigmas_type="zero")  # fmt: skip
    abar = theirs.alphas_cumprod.double()
    assert torch.allclose(run(x, abar, steps, sampler="dpm++"), along(theirs, steps, x), atol=1e-5)


def test_dpm_solver_starts_at_pure_noise():
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(4))
    out = run(x, g.schedule("cosine", T), 10, sampler="dpm++")
    near = run(x, g.schedule("cosine", T), 1000)
    assert torch.isfinite(out).all() and (out - near).abs().max() < 0.25


@settings(max_examples=50, deadline=None)
@given(st.sampled_from(["v", "x0", "noise"]), st.floats(0.01, 0.99), st.integers(0, 100))
def test_targets_speak_of_the_same_data_and_noise(target, abar, seed):
    x0, eps = torch.randn(2, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).unbind(0)
    a = torch.tensor(abar, dtype=torch.float64)
    x_t = g.add_noise(x0, eps, a)
    back = g.x0_and_noise(target, g.target_of(target, x0, eps, a), x_t, abar)
    assert torch.allclose(back[0], x0) and torch.allclose(back[1], eps)


def test_ddpm_is_ddim_at_eta_one():
    x, x0, z = torch.randn(3, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(5)).unbind(0)
    abar_t, abar_s = 0.3, 0.6
    eps = (x - math.sqrt(abar_t) * x0) / math.sqrt(1 - abar_t)
    assert torch.allclose(g.ddpm_step(x, x0, abar_t, abar_s, z), g.ddim_step(x0, eps, abar_t, abar_s, 1.0, z))


@pytest.mark.parametrize("rescale", [0.0, 0.7, 1.0])
def test_guidance_equals_diffusers(rescale):
    from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import rescale_noise_cfg

    c, u = torch.randn(2, 4, 10, 6, generator=torch.Generator().manual_seed(6)).unbind(0)
    plain = u + 3.0 * (c - u)
    expected = rescale_noise_cfg(plain, c, rescale) if rescale else plain
    assert torch.allclose(g.guided(c, u, 3.0, rescale), expected, atol=1e-5)
    assert torch.equal(g.guided(c, u, 1.0), c)


def test_wrong_step_counts_are_refused():
    for steps in (0, T + 1):
        with pytest.raises(ValueError, match="between 1 and 1000"):
            g.timesteps(T, steps)


# --- ideal denoisers: the sampler alone must reproduce the distribution -------------------------------

SAMPLERS = [("ddim", 0.0, 150), ("ddim", 0.5, 200), ("ddpm", 0.0, 250), ("dpm++", 0.0, 60)]
N = 10_000


def draw(ideal_x0, d, sampler, eta, steps, target="x0", seed=0):
    """Sample with the exact E[x0 | x_t]; the network speaks in `target`."""
    abar, times = g.schedule("cosine", T), g.timesteps(T, steps)
    generator = torch.Generator().manual_seed(seed)
    fresh = lambda: torch.randn(N, d, dtype=torch.float64, generator=generator)  # noqa: E731

    def predict(x, i):
        a = abar[times[i]]
        x0 = ideal_x0(x, float(a))
        return x0 if target == "x0" else a.sqrt() * (x - a.sqrt() * x0) / (1 - a).sqrt() - (1 - a).sqrt() * x0

    return g.sample(predict, fresh(), abar, times, target=target, sampler=sampler, eta=eta, noise=fresh).numpy()


@pytest.mark.parametrize(("sampler", "eta", "steps"), SAMPLERS)
@pytest.mark.parametrize("target", ["x0", "v"])
def test_ideal_denoiser_reproduces_a_gaussian(sampler, eta, steps, target):
    mean = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    root = torch.tensor([[1.0, 0.0, 0.0], [0.6, 0.5, 0.0], [-0.3, 0.2, 0.8]], dtype=torch.float64)
    cov, eye = root @ root.T, torch.eye(3, dtype=torch.float64)

    def ideal_x0(x, a):  # mean + alpha C (alpha^2 C + sigma^2 I)^-1 (x_t - alpha mean)
        gain = math.sqrt(a) * cov @ torch.linalg.inv(a * cov + (1 - a) * eye)
        return mean + (x - math.sqrt(a) * mean) @ gain.T

    x = draw(ideal_x0, 3, sampler, eta, steps, target)
    # five standard errors of a mean and of a covariance entry, and 1 % for the step size
    se_mean = np.sqrt(np.diag(cov) / N)
    se_cov = np.sqrt((cov**2 + torch.outer(cov.diag(), cov.diag())).numpy() / N)
    assert (np.abs(x.mean(0) - mean.numpy()) < 5 * se_mean + 0.01).all()
    assert (np.abs(np.cov(x.T) - cov.numpy()) < 5 * se_cov + 0.015).all()


@pytest.mark.parametrize(("sampler", "eta", "steps"), SAMPLERS)
def test_ideal_denoiser_reproduces_a_mixture(sampler, eta, steps):
    weight = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
    means = torch.tensor([[2.0, 0.0], [-2.0, 1.5], [0.0, -2.0]], dtype=torch.float64)
    var = 0.1

    def ideal_x0(x, a):
        spread = a * var + 1 - a  # variance of x_t inside a mode
        distance = (x[:, None] - math.sqrt(a) * means) ** 2
        share = torch.softmax(weight.log() - distance.sum(-1) / (2 * spread), dim=1)  # [B, 3]
        inside = means + math.sqrt(a) * var / spread * (x[:, None] - math.sqrt(a) * means)
        return (share[..., None] * inside).sum(1)

    x = draw(ideal_x0, 2, sampler, eta, steps)
    mode = ((x[:, None] - means.numpy()) ** 2).sum(-1).argmin(1)
    found = np.bincount(mode, minlength=3) / N
    assert (np.abs(found - weight.numpy()) < 5 * np.sqrt(weight * (1 - weight) / N).numpy() + 0.01).all()
    for m in range(3):
        inside = x[mode == m]
        assert np.abs(inside.mean(0) - means[m].numpy()).max() < 0.03
        assert np.abs(np.cov(inside.T) - var * np.eye(2)).max() < 0.01

"""Diffusion processes: `gaussian` (continuous latents)."""

"""Topaz (Bepler et al. 2019, doi:10.1038/s41592-019-0575-8) as picker and denoiser, in an environment of its own."""

"""Stand-in for ``torchvision.transforms.functional``: the three functions Topaz's training calls, in plain torch.

Copied into Topaz's environment where torchvision cannot be imported: from PyPI it comes as a CUDA build only, which
does not load beside a CPU build of torch.
"""

import math

import torch


def hflip(image):
    """Mirror the columns."""
    return image.flip(-1)


def vflip(image):
    """Mirror the rows."""
    return image.flip(-2)


def rotate(image, angle):
    """Turn ``(..., h, w)`` by degrees, counter-clockwise, nearest neighbour, zeros outside."""
    shape = image.shape
    height, width = shape[-2:]
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    # grid_sample wants where each output pixel comes from, in units of half a side
    turn = torch.tensor(
        [[cosine, -sine * height / width, 0.0], [sine * width / height, cosine, 0.0]],
        dtype=torch.float32,
        device=image.device,
    )
    flat = image.reshape(1, -1, height, width)
    grid = torch.nn.functional.affine_grid(turn[None], list(flat.shape), align_corners=False)
    turned = torch.nn.functional.grid_sample(flat.float(), grid, mode="nearest", align_corners=False)
    return turned.to(image.dtype).reshape(shape)

"""The image model: two convolutions and one fully connected layer, named so that LoRA can address each.

Takes grey images `[b, 1, H, W]` in [0, 1]; gives logits `[b, classes]`. It must never mix samples (no batch
normalisation): one record's gradient would then depend on the others and per-sample clipping would not bound
it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from secagg.errors import SottoError

__all__ = ["Cnn", "CnnConfig"]


@dataclass(frozen=True)
class CnnConfig:
    """Shape of the network.

    Attributes:
        image_size: height and width in pixels.
        channels: outputs of conv1 and conv2.
        classes: outputs of fc.
        kernel: side of both convolutions, odd; borders are padded so that sizes stay.
        grid: conv2's map is max-pooled to `grid x grid`: `channels[1] * grid^2` values per image.
        components: how many whitened directions of those values fc sees, at most all of them.
    """

    image_size: tuple[int, int]
    channels: tuple[int, int] = (16, 32)
    classes: int = 10
    kernel: int = 5
    grid: int = 5
    components: int = 400

    def __post_init__(self) -> None:
        smallest = min(self.image_size)
        if smallest < 4:
            raise SottoError(f"the cnn was given images of {self.image_size} pixels; allowed: 4 x 4 or larger")
        if len(self.channels) != 2 or min(self.channels) < 1:
            raise SottoError(f"model.channels is {list(self.channels)}; allowed: two numbers above 0")
        if self.classes < 2:
            raise SottoError(f"the cnn was asked for {self.classes} classes; allowed: 2 or more")
        if self.kernel < 1 or self.kernel % 2 == 0:
            raise SottoError(f"the cnn's kernel is {self.kernel}; allowed: odd numbers from 1")
        if not 1 <= self.grid <= smallest // 2:
            raise SottoError(f"the cnn's grid is {self.grid}; allowed: 1 to {smallest // 2} for these images")
        if not 1 <= self.components <= self.pooled:
            raise SottoError(f"the cnn's components are {self.components}; allowed: 1 to {self.pooled}")

    @classmethod
    def for_images(
        cls, image_size: tuple[int, int], channels: tuple[int, int] = (16, 32), classes: int = 10
    ) -> CnnConfig:
        """The shape used for images of this size: 5x5 kernels from 16 pixels on, 3x3 below."""
        small = min(image_size) < 16
        grid = min(image_size) // 2 if small else 5
        components = min(128 if small else 400, channels[-1] * grid**2)
        return cls(image_size, channels, classes, 3 if small else 5, grid, components)

    @property
    def pooled(self) -> int:
        """Values per image after the convolutions."""
        return self.channels[1] * self.grid**2


class Cnn(nn.Module):
    """conv1 - pool - relu - conv2 - pool - relu - normalise - fc.

    The normalisation between pooling and fc is fixed: layer normalisation without gain and bias (Ba, Kiros, Hinton
    2016, eq. 4), then centring and whitening with statistics of *public* images, then division by the root mean
    square. Every record's features thus have norm sqrt(components), so one clip norm fits all records; and
    directions of equal variance let a noisy optimiser approach the solution in few rounds, which is what a privacy
    budget buys. The statistics are buffers: frozen, saved with the weights, never updated.
    """

    lora_targets = ("fc",)  # adapted where a configuration names none of conv1, conv2 and fc

    center: Tensor
    whitening: Tensor

    def __init__(self, config: CnnConfig) -> None:
        super().__init__()
        self.shape = config
        first, second = config.channels
        self.conv1 = nn.Conv2d(1, first, config.kernel, padding=config.kernel // 2)
        self.conv2 = nn.Conv2d(first, second, config.kernel, padding=config.kernel // 2)
        self.fc = nn.Linear(config.components, config.classes)
        self.register_buffer("center", torch.zeros(config.pooled))
        self.register_buffer("whitening", torch.eye(config.pooled, config.components))
        # Twice as fast on CPUs; torch declares no overload of `to` for it.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def pooled(self, images: Tensor) -> Tensor:
        """What the convolutions see, `[b, pooled]`, each row with mean 0 and variance 1."""
        # The largest of rectified values is the largest value, rectified: the same bits for a quarter of the work.
        maps = F.relu(F.max_pool2d(self.conv1(images), 2))
        maps = F.relu(F.adaptive_max_pool2d(self.conv2(maps), self.shape.grid))
        flat = torch.flatten(maps, 1)
        return F.layer_norm(flat, flat.shape[1:])

    def normalise(self, pooled: Tensor) -> Tensor:
        """Inputs of fc `[b, components]` from `pooled [b, pooled]`; each row has norm sqrt(components)."""
        return F.rms_norm((pooled - self.center) @ self.whitening, (self.shape.components,), eps=1e-6)

    def features(self, images: Tensor) -> Tensor:
        """Inputs of fc, `[b, components]`, of `images [b, 1, H, W]`."""
        return self.normalise(self.pooled(images))

    def forward(self, images: Tensor) -> Tensor:
        """Logits `[b, classes]` of `images [b, 1, H, W]`, or of their features `[b, components]` if those are kept."""
        logits: Tensor = self.fc(images if images.dim() == 2 else self.features(images))
        return logits

    @torch.no_grad()
    def fit_normalisation(self, pooled: Tensor, ridge: float = 0.04) -> None:
        """Set centre and whitening from public images: `(cov + ridge * mean eigenvalue)^(-1/2)`, largest first.

        Args:
            pooled: `[n, pooled]`, this network's `pooled` of n public images.
            ridge: keeps directions that public images hardly use from being blown up.
        """
        wide = pooled.to(torch.float64, copy=True)
        mean = wide.mean(0)
        wide -= mean
        values, vectors = torch.linalg.eigh(wide.T @ wide / len(wide))
        values, vectors = values.flip(0).clamp_min(0), vectors.flip(1)
        # An eigenvector's sign is arbitrary: fix it, so that two machines give the same network.
        vectors = vectors * vectors.gather(0, vectors.abs().argmax(0, keepdim=True)).sign()
        scale = (values + ridge * values.mean() + 1e-12).rsqrt()
        self.center.copy_(mean)
        self.whitening.copy_((vectors * scale)[:, : self.shape.components])

"""What speed is measured against: the loop that tutorials write, and the matrix products of a step.

`tutorial_loop` is a conditional GAN on MNIST exactly as PyTorch courses teach it: torchvision's MNIST with Resize,
ToTensor and Normalize for each image, a DataLoader without workers, two unfused Adam optimizers, a pass through the
discriminator for each purpose, every loss read back and a progress bar moved in every step. Nothing of ganzoo's
trainer is used.
"""

import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

N_CLASSES, LATENT_DIM, IMG_SIZE, BATCH_SIZE = 10, 100, 32, 64


class Generator(nn.Module):
    """Noise (N, 100) and labels (N,) to images (N, 1, 32, 32)."""

    def __init__(self) -> None:
        super().__init__()
        self.label_emb = nn.Embedding(N_CLASSES, N_CLASSES)

        def block(in_feat: int, out_feat: int, normalize: bool = True) -> list[nn.Module]:
            layers: list[nn.Module] = [nn.Linear(in_feat, out_feat)]
            if normalize:
                layers.append(nn.BatchNorm1d(out_feat, 0.8))
            layers.append(nn.LeakyReLU(0.2, inplace=True))
            return layers

        self.model = nn.Sequential(
            *block(LATENT_DIM + N_CLASSES, 128, normalize=False),
            *block(128, 256),
            *block(256, 512),
            *block(512, 1024),
            nn.Linear(1024, IMG_SIZE * IMG_SIZE),
            nn.Tanh(),
        )

    def forward(self, noise: Tensor, labels: Tensor) -> Tensor:
        gen_input = torch.cat((self.label_emb(labels), noise), -1)
        return self.model(gen_input).view(noise.size(0), 1, IMG_SIZE, IMG_SIZE)


class Discriminator(nn.Module):
    """Images (N, 1, 32, 32) and labels (N,) to validity (N, 1)."""

    def __init__(self) -> None:
        super().__init__()
        self.label_embedding = nn.Embedding(N_CLASSES, N_CLASSES)
        self.model = nn.Sequential(
            nn.Linear(N_CLASSES + IMG_SIZE * IMG_SIZE, 512),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Linear(512, 512),
            nn.Dropout(0.4),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Linear(512, 512),
            nn.Dropout(0.4),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Linear(512, 1),
        )

    def forward(self, img: Tensor, labels: Tensor) -> Tensor:
        return self.model(torch.cat((img.view(img.size(0), -1), self.label_embedding(labels)), -1))


def tutorial_loop(
    root: Path, batch_size: int = BATCH_SIZE, seed: int = 0, device: str = "cpu", progress: IO[str] | None = None
) -> Iterator[tuple[int, nn.Module]]:
    """The tutorials' loop, without end; yields (images seen, generator) after each step.

    `root` is what torchvision's MNIST is given; the progress bar goes to `progress`, by default to stderr.
    """
    from torch.utils.data import DataLoader
    from torchvision import datasets, transforms
    from tqdm import tqdm

    torch.manual_seed(seed)
    adversarial_loss = nn.MSELoss()
    generator, discriminator = Generator().to(device), Discriminator().to(device)
    dataloader = DataLoader(
        datasets.MNIST(
            root,
            train=True,
            transform=transforms.Compose(
                [transforms.Resize(IMG_SIZE), transforms.ToTensor(), transforms.Normalize([0.5], [0.5])]
            ),
        ),
        batch_size=batch_size,
        shuffle=True,
    )
    optimizer_g = torch.optim.Adam(generator.parameters(), lr=0.0002, betas=(0.5, 0.999))
    optimizer_d = torch.optim.Adam(discriminator.parameters(), lr=0.0002, betas=(0.5, 0.999))
    seen = 0
    for epoch in count():
        bar = tqdm(dataloader, desc=f"epoch {epoch}", file=progress)
        for imgs, labels in bar:
            n = imgs.shape[0]
            valid = torch.ones(n, 1, device=device)
            fake = torch.zeros(n, 1, device=device)
            real_imgs = imgs.float().to(device)
            labels = labels.to(device)

            optimizer_g.zero_grad()
            z = torch.randn(n, LATENT_DIM, device=device)
            gen_labels = torch.randint(0, N_CLASSES, (n,), device=device)
            gen_imgs = generator(z, gen_labels)
            validity = discriminator(gen_imgs, gen_labels)
            g_loss = adversarial_loss(validity, valid)
            g_loss.backward()
            optimizer_g.step()

            optimizer_d.zero_grad()
            validity_real = discriminator(real_imgs, labels)
            d_real_loss = adversarial_loss(validity_real, valid)
            validity_fake = discriminator(gen_imgs.detach(), gen_labels)
            d_fake_loss = adversarial_loss(validity_fake, fake)
            d_loss = (d_real_loss + d_fake_loss) / 2
            d_loss.backward()
            optimizer_d.step()

            bar.set_postfix(
                d_loss=d_loss.item(),
                g_loss=g_loss.item(),
                d_x=validity_real.mean().item(),
                d_g_z=validity_fake.mean().item(),
            )
            seen += n
            yield seen, generator


# The roofline


@dataclass(frozen=True)
class Roofline:
    """The matrix products of one step: what they cost by themselves, each measured at its own shapes."""

    operations: int
    """Floating-point operations, by torch's counter."""
    seconds: float
    """Time of all the products when nothing else is done."""

    @property
    def rate(self) -> float:
        """Floating-point operations a second that the products reach."""
        return self.operations / self.seconds

    def share(self, seconds: float) -> float:
        """Of a step that takes `seconds`, the share that its products account for: 1 is the roofline."""
        return self.seconds / seconds


def roofline(step: Callable[[], Any], device: torch.device) -> Roofline:
    """Count the operations of one call of `step`, and time its matrix products and convolutions by themselves."""
    with _Products() as products:
        step()
    seconds = sum(n * _time(call, device) for call, n in products.calls.items())
    return Roofline(products.operations, seconds)


class _Like:
    """A tensor's shape and layout: what a product's speed depends on."""

    def __init__(self, tensor: Tensor):
        self.key = tuple(tensor.shape), tuple(tensor.stride()), tensor.dtype, tensor.device

    def make(self) -> Tensor:
        shape, stride, dtype, device = self.key
        reach = 1 + sum((n - 1) * step for n, step in zip(shape, stride, strict=True)) if 0 not in shape else 0
        return torch.randn(reach, dtype=dtype, device=device).as_strided(shape, stride)  # Expanded ones overlap.

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Like) and self.key == other.key


class _Products(TorchDispatchMode):
    """Counts the calls of the operators that torch's counter knows, by operator and shapes, and their operations.

    The counter's formulas are used without the counter itself, which cannot follow `autograd.grad` inside a step
    (gradient penalties): it keeps track of modules, which are of no interest here.
    """

    def __init__(self) -> None:
        super().__init__()
        self.formulas: dict[Any, Callable[..., int]] = FlopCounterMode(display=False).flop_registry
        self.calls: Counter[tuple[Any, ...]] = Counter()
        self.operations = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        formula = self.formulas.get(func._overloadpacket)
        if formula is not None:
            self.operations += formula(*args, **kwargs, out_val=out)
            self.calls[func, _frozen(args), _frozen(tuple(kwargs.items()))] += 1
        return out


def _frozen(value: Any) -> Any:
    if isinstance(value, Tensor):
        return _Like(value)
    return tuple(_frozen(v) for v in value) if isinstance(value, list | tuple) else value


def _thawed(value: Any) -> Any:
    if isinstance(value, _Like):
        return value.make()
    return [_thawed(v) for v in value] if isinstance(value, tuple) else value


AT_LEAST, LONG_ENOUGH = 5, 0.03
"""Repetitions of each product, and seconds after which five are enough."""


def _time(call: tuple[Any, ...], device: torch.device) -> float:
    """Median seconds of one operator call on tensors of the same shapes."""
    func, args, kwargs = call[0], _thawed(call[1]), {k: _thawed(v) for k, v in call[2]}
    run, each = (lambda: func(*args, **kwargs)), 1
    with torch.no_grad():
        for _ in range(3):
            run()
        if device.type == "cuda":
            # A graph of many, for launching them one by one would take longer than the products themselves.
            torch.cuda.synchronize(device)
            graph, each = torch.cuda.CUDAGraph(), 20
            with torch.cuda.graph(graph):
                for _ in range(each):
                    func(*args, **kwargs)
            run = graph.replay
        times: list[float] = []
        while len(times) < AT_LEAST or (sum(times) < LONG_ENOUGH and len(times) < 1000):
            begun = time.perf_counter()
            run()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            times.append(time.perf_counter() - begun)
    return statistics.median(times) / each

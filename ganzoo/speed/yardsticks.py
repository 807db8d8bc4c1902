"""What speed is measured against: the loop that tutorials write, and the matrix products of a step.

`tutorial_loop` is a conditional GAN on MNIST exactly as PyTorch courses teach it: torchvision's MNIST with Resize,
ToTensor and Normalize for each image, a DataLoader without workers, two unfused Adam optimizers, a pass through the
discriminator for each purpose, every loss read back and a progress bar moved in every step. Nothing of ganzoo's
trainer is used.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor, nn

from ganzoo.errors import GanzooError, one_line
from ganzoo.training.products import Products

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


class TutorialProcess:
    """The tutorials' loop in a process of its own, as when its script is run; it stands still between calls.

    Within ganzoo's process it would run a quarter faster than its script does: memory that ganzoo's start has used and
    given back spares it from asking the system for pages at every step.
    """

    def __init__(self, root: Path, batch_size: int, device: str):
        command = [sys.executable, "-m", "ganzoo.speed.yardsticks", str(root), str(batch_size), device]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def __call__(self, steps: int) -> float:
        """Take so many steps; the seconds that they took.

        Raises:
            GanzooError: the process ended.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(f"{steps}\n")
            self._process.stdin.flush()
            return float(self._process.stdout.readline())
        except (OSError, ValueError) as error:
            said = self.close().strip().splitlines()
            raise GanzooError(f"the tutorials' loop stopped: {said[-1] if said else one_line(error)}") from None

    def close(self) -> str:
        """End the process; what it complained of."""
        self._process.kill()
        return self._process.communicate()[1]


def serve(root: Path, batch_size: int, device: str) -> None:
    """Take as many steps as each line of stdin says, and answer with the seconds that they took."""
    with Path(os.devnull).open("w") as sink:
        loop = tutorial_loop(root, batch_size, device=device, progress=sink)
        for line in sys.stdin:
            begun = time.perf_counter()
            for _ in range(int(line)):
                next(loop)  # Its values were read back: nothing is left to wait for.
            print(time.perf_counter() - begun, flush=True)


# The roofline


class Roofline:
    """The matrix products and convolutions of one step, by themselves: nothing is done between them.

    Each runs on tensors of its own shapes and layouts, in the order of the step; there are as many as in the step.
    """

    def __init__(self, step: Callable[[], Any]):
        """Take one `step`, and note its products."""
        self._calls: list[tuple[Any, ...]] = []

        def note(func: Any, args: Any, kwargs: Any) -> None:
            self._calls.append((func, _frozen(args), _frozen(tuple(kwargs.items()))))

        with Products(note) as products:
            step()
        self.operations = products.operations
        """Floating-point operations, by torch's counter."""
        self._run: Callable[[], Any] | None = None

    def __call__(self, passes: int, device: torch.device) -> float:
        """All products, so many times over; the seconds that it took."""
        if self._run is None:
            self._run = self._ready(device)
        begun = time.perf_counter()
        for _ in range(passes):
            self._run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - begun

    def _ready(self, device: torch.device) -> Callable[[], Any]:
        """Make the tensors, and warm up. What shares memory in the step does so here."""
        made: dict[Any, Tensor] = {}
        ready = [
            (func, _thawed(args, made), {name: _thawed(value, made) for name, value in kwargs})
            for func, args, kwargs in self._calls
        ]

        @torch.no_grad()
        def run() -> None:
            for func, args, kwargs in ready:
                func(*args, **kwargs)

        for _ in range(3):
            run()
        if device.type != "cuda":
            return run
        # As one graph, for launching them one by one could take longer than the products themselves.
        torch.cuda.synchronize(device)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=torch.cuda.Stream(device), capture_error_mode="thread_local"):
            run()
        return graph.replay


class _Like:
    """A tensor's memory, and its place in it: what the speed of a product depends on."""

    def __init__(self, tensor: Tensor):
        self._place = tuple(tensor.shape), tuple(tensor.stride()), tensor.storage_offset()
        memory = tensor.untyped_storage()
        self._memory = memory.data_ptr(), memory.nbytes() // tensor.element_size(), tensor.dtype, tensor.device

    def make(self, made: dict[Any, Tensor]) -> Tensor:
        """Another tensor in the same place of other memory: in that of `made`, where it is there."""
        if self._memory not in made:
            _, size, dtype, device = self._memory
            made[self._memory] = torch.randn(size, dtype=dtype, device=device)
        return made[self._memory].as_strided(*self._place)


def _frozen(value: Any) -> Any:
    if isinstance(value, Tensor):
        return _Like(value)
    return tuple(_frozen(v) for v in value) if isinstance(value, list | tuple) else value


def _thawed(value: Any, made: dict[Any, Tensor]) -> Any:
    if isinstance(value, _Like):
        return value.make(made)
    return [_thawed(v, made) for v in value] if isinstance(value, tuple) else value


if __name__ == "__main__":
    serve(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])

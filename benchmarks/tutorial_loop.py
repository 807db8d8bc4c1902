"""The yardstick: a conditional GAN on MNIST exactly as PyTorch tutorials write it.

torchvision's MNIST with Resize, ToTensor and Normalize for each image, a DataLoader without workers, two unfused Adam
optimizers, four passes through the discriminator, and every loss read back in every step. Nothing of ganzoo's trainer
is used; only the digits come from its cache, so that nothing is downloaded.

    python benchmarks/tutorial_loop.py --seconds 30
    python benchmarks/tutorial_loop.py --epochs 10 --samples samples.npz
"""

import argparse
import json
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import numpy as np
import torch
from ganzoo_plugins.mnist import unpack
from torch import nn
from torch.utils.data import DataLoader
from torchvision import datasets, transforms
from tqdm import tqdm

N_CLASSES, LATENT_DIM, IMG_SIZE, BATCH_SIZE = 10, 100, 32, 64


class Generator(nn.Module):
    def __init__(self):
        super().__init__()
        self.label_emb = nn.Embedding(N_CLASSES, N_CLASSES)

        def block(in_feat, out_feat, normalize=True):
            layers = [nn.Linear(in_feat, out_feat)]
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

    def forward(self, noise, labels):
        gen_input = torch.cat((self.label_emb(labels), noise), -1)
        return self.model(gen_input).view(noise.size(0), 1, IMG_SIZE, IMG_SIZE)


class Discriminator(nn.Module):
    def __init__(self):
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

    def forward(self, img, labels):
        return self.model(torch.cat((img.view(img.size(0), -1), self.label_embedding(labels)), -1))


def train(seed: int = 0) -> Iterator[tuple[int, nn.Module]]:
    """The tutorial's loop, without end; yields (images seen, generator) after each step."""
    torch.manual_seed(seed)
    adversarial_loss = nn.MSELoss()
    generator, discriminator = Generator(), Discriminator()
    dataloader = DataLoader(
        datasets.MNIST(
            unpack(),
            train=True,
            transform=transforms.Compose(
                [transforms.Resize(IMG_SIZE), transforms.ToTensor(), transforms.Normalize([0.5], [0.5])]
            ),
        ),
        batch_size=BATCH_SIZE,
        shuffle=True,
    )
    optimizer_g = torch.optim.Adam(generator.parameters(), lr=0.0002, betas=(0.5, 0.999))
    optimizer_d = torch.optim.Adam(discriminator.parameters(), lr=0.0002, betas=(0.5, 0.999))
    seen = 0
    for epoch in count():
        progress = tqdm(dataloader, desc=f"epoch {epoch}")
        for imgs, labels in progress:
            batch_size = imgs.shape[0]
            valid = torch.ones(batch_size, 1)
            fake = torch.zeros(batch_size, 1)
            real_imgs = imgs.float()

            optimizer_g.zero_grad()
            z = torch.randn(batch_size, LATENT_DIM)
            gen_labels = torch.randint(0, N_CLASSES, (batch_size,))
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

            progress.set_postfix(
                d_loss=d_loss.item(),
                g_loss=g_loss.item(),
                d_x=validity_real.mean().item(),
                d_g_z=validity_fake.mean().item(),
            )
            seen += batch_size
            yield seen, generator


def main() -> None:
    """Train for a number of epochs or seconds; print images per second as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=float, default=float("inf"))
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--samples", type=Path, help="write 10,000 samples to this .npz, as the script leaves them")
    options = parser.parse_args()
    if options.epochs == options.seconds:
        options.seconds = 30.0
    images, warm = 60_000 * options.epochs, 20 * BATCH_SIZE
    started = begun = time.perf_counter()
    for seen, network in train(options.seed):
        generator = network
        now = time.perf_counter()
        if seen == warm:
            begun = now
        if seen >= images or now - started >= options.seconds:
            break
    print(json.dumps({"images_per_second": (seen - warm) / (now - begun), "seconds": now - started, "images": seen}))
    if options.samples:
        labels = torch.arange(10).repeat(1000)
        with torch.no_grad():
            images = generator.eval()(torch.randn(10_000, LATENT_DIM), labels)
        np.savez(options.samples, images=((images + 1) * 127.5).round().byte().numpy(), labels=labels.numpy())


if __name__ == "__main__":
    main()

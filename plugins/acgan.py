"""ACGAN: Odena et al., Conditional Image Synthesis with Auxiliary Classifier GANs, 2017; and what became of its idea.

G is told the class; D is not, but must name it besides telling real from fake (equations 2 and 3):

    L_S = E[log P(real | x)] + E[log P(fake | G(z, c))],    L_C = E[log P(c | x)] + E[log P(c | G(z, c))]

D maximises L_S + L_C, G maximises L_C - L_S (here, as everywhere, by its non-saturating form or the hinge's). For
condition vectors "naming" is regression of the attributes, beside the class.

Where D learns to name fakes too, it learns that G is right: let G draw some fours that look like nines, and D calls
them fours, G draws more of them, and the two classes trade places. Where it does not, G draws what is named easily, and
samples of a class are more alike than images of it. So by default D names fours of G's as what they are (`adc`), and G
is to make what D takes for a real four and not for one of those. What is learnt of the name is chosen by `classifier`,
from the same features:

    adc           twice the classes, real and fake ones: Hou et al., Conditional GANs with Auxiliary Discriminative
                  Classifier, 2022, equations 9 and 10
    ac            the paper's cross-entropy, of real images alone unless `classify_fakes` has its other term (so do
                  `contra` and `d2d-ce`)
    tac           a twin classifier names fakes alone, and G avoids what it knows: Gong et al., Twin Auxiliary
                  Classifiers GAN, 2019, equation 6
    contra        features near the class's proxy and to others of the class: Kang & Park, ContraGAN, 2020, equation 8
    d2d-ce        near the proxy, and apart from others of other classes: Kang et al., Rebooting ACGAN, 2021, equation 6
                  (their program subtracts the largest similarity from one side of it alone, and has other numbers)
    multi-hinge   margins between classes, one of which is "fake": Kavalerov et al., A Multi-Class Hinge Loss for
                  Conditional GANs, 2021, equations 6 and 7

G maps z (N, latent_dim) and y to (N, C, H, W) in [-1, 1], D maps (N, C, H, W) to logits (N, 1) and what its classifier
says of them (N, K): logits or values for `ac`, logits for others, features for `contra` and `d2d-ce`.
"""

from collections.abc import Callable
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

import ganzoo
from ganzoo import losses
from ganzoo.errors import UsageError
from ganzoo.fields import Beta1, Beta2, Hold, LearningRate, Width
from ganzoo.nets import ConvFeatures, ConvGenerator

EMBEDDED = 128
"""Size of the features that `contra` and `d2d-ce` compare."""


class Classifier(nn.Linear):
    """A head on D's features (N, `features`) that learns to name conditions, and what either player makes of it."""

    for_classes: ClassVar[bool] = True
    """Whether it names classes alone, and no attributes."""

    def __init__(self, data: ganzoo.DataSpec, features: int):
        super().__init__(features, self.width(data))
        self.classes = len(data.classes)

    def width(self, data: ganzoo.DataSpec) -> int:
        """How many numbers it says of an image."""
        return data.condition_size

    def of_real(self, said: Tensor, y: Tensor) -> Tensor:
        """What D minimises of real images: from what was said (N, K) and the conditions, a scalar."""
        raise NotImplementedError

    def of_fake(self, said: Tensor, y: Tensor) -> Tensor | None:
        """What D minimises of fakes; None: nothing."""
        return None

    def of_generator(self, said: Tensor, y: Tensor) -> Tensor:
        """What G minimises; unless overridden, what D minimises of real images."""
        return self.of_real(said, y)


class Auxiliary(Classifier):
    """Odena et al. 2017, equation 3."""

    for_classes = False

    def of_real(self, said: Tensor, y: Tensor) -> Tensor:
        return losses.prediction(said, y, self.classes)


class Twin(Auxiliary):
    """Gong et al. 2019, equation 6: of what is said, the first half is the classifier's, the other the twin's."""

    for_classes = True

    def width(self, data: ganzoo.DataSpec) -> int:
        return 2 * len(data.classes)

    def of_real(self, said: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(said[:, : self.classes], y)

    def of_fake(self, said: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(said[:, self.classes :], y)

    def of_generator(self, said: Tensor, y: Tensor) -> Tensor:
        return self.of_real(said, y) - self.of_fake(said, y)


class Discriminative(Classifier):
    """Hou et al. 2022, equations 9 and 10: the classes of real images, then those of fakes."""

    def width(self, data: ganzoo.DataSpec) -> int:
        return 2 * len(data.classes)

    def of_real(self, said: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(said, y)

    def of_fake(self, said: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(said, y + self.classes)

    def of_generator(self, said: Tensor, y: Tensor) -> Tensor:
        return self.of_real(said, y) - self.of_fake(said, y)


class MultiHinge(Classifier):
    """Kavalerov et al. 2021, equations 6 and 7: the last class is that of fakes."""

    def width(self, data: ganzoo.DataSpec) -> int:
        return len(data.classes) + 1

    def of_real(self, said: Tensor, y: Tensor) -> Tensor:
        return crammer_singer(said, y)

    def of_fake(self, said: Tensor, y: Tensor) -> Tensor:
        return crammer_singer(said, torch.full_like(y, self.classes))


class Contrastive(Classifier):
    """Kang & Park 2020, equation 8: the cosine to the class's proxy, and to others of the batch."""

    temperature = 1.0

    def __init__(self, data: ganzoo.DataSpec, features: int):
        super().__init__(data, features)
        self.proxies = nn.Embedding(len(data.classes), EMBEDDED)

    def width(self, data: ganzoo.DataSpec) -> int:
        return EMBEDDED

    def of_real(self, said: Tensor, y: Tensor) -> Tensor:
        return conditional_contrast(said, self.proxies(y), y, self.temperature)


class DataToData(Contrastive):
    """Kang et al. 2021, equation 6."""

    temperature = 0.5
    margin = 0.98

    def of_real(self, said: Tensor, y: Tensor) -> Tensor:
        return data_to_data(said, self.proxies(y), y, self.temperature, self.margin)


CLASSIFIERS: dict[str, type[Classifier]] = {
    "ac": Auxiliary,
    "tac": Twin,
    "adc": Discriminative,
    "contra": Contrastive,
    "d2d-ce": DataToData,
    "multi-hinge": MultiHinge,
}


def crammer_singer(said: Tensor, y: Tensor) -> Tensor:
    """E[max(0, 1 + max over k != y of C_k - C_y)], of scores (N, K) and classes (N,)."""
    of_y = y.unsqueeze(1) == torch.arange(said.shape[1], device=y.device)
    others = said.masked_fill(of_y, -torch.inf).amax(1)
    return F.relu(1 + others - said.gather(1, y.unsqueeze(1)).squeeze(1)).mean()


def conditional_contrast(features: Tensor, proxies: Tensor, y: Tensor, temperature: float) -> Tensor:
    """-E[log (e^{f.p} + sum e^{f.f'}, f' of the class) / (e^{f.p} + sum e^{f.f'})], all cosines over `temperature`.

    Features and each one's proxy (N, D), classes (N,). f' are the other samples of the batch.
    """
    to_proxy, to_others = _cosines(features, proxies)
    to_proxy, to_others = to_proxy / temperature, to_others / temperature
    itself = torch.eye(len(y), dtype=torch.bool, device=y.device)
    others = to_others.masked_fill(itself, -torch.inf)
    alike = others.masked_fill(y.unsqueeze(1) != y, -torch.inf)
    above = torch.cat([to_proxy.unsqueeze(1), alike], 1).logsumexp(1)
    return (torch.cat([to_proxy.unsqueeze(1), others], 1).logsumexp(1) - above).mean()


def data_to_data(features: Tensor, proxies: Tensor, y: Tensor, temperature: float, margin: float) -> Tensor:
    """-E[log a / (a + sum b)], a = e^{min(0, f.p - m) / t} to the proxy, b = e^{max(0, f.f' + m - 1) / t} to others.

    Features and each one's proxy (N, D), classes (N,). f' are the samples of other classes in the batch, m is `margin`.
    """
    to_proxy, to_others = _cosines(features, proxies)
    near = (to_proxy - margin).clamp(max=0) / temperature
    apart = (to_others + (margin - 1)).clamp(min=0) / temperature
    apart = apart.masked_fill(y.unsqueeze(1) == y, -torch.inf)
    return (torch.cat([near.unsqueeze(1), apart], 1).logsumexp(1) - near).mean()


def _cosines(features: Tensor, proxies: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine of each sample to its proxy (N,), and to each sample (N, N)."""
    features = F.normalize(features, dim=1)
    return (features * F.normalize(proxies, dim=1)).sum(1), features @ features.t()


class Discriminator(nn.Module):
    """One convolutional body, two heads: whether x is real, and what it shows."""

    def __init__(self, data: ganzoo.DataSpec, width: int, norm: str, classifier: type[Classifier]):
        super().__init__()
        wrap: Callable[[nn.Module], nn.Module] = spectral_norm if norm == "spectral" else lambda layer: layer
        self.features = ConvFeatures(data, width, batch_norm=norm == "batch", wrap=wrap)
        self.adversarial = wrap(nn.Linear(self.features.size, 1))
        self.auxiliary = wrap(classifier(data, self.features.size))

    def forward(self, x: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor]:
        features = self.features(x)
        return self.adversarial(features), self.auxiliary(features)


class ACGAN(ganzoo.GAN):
    """The GAN whose discriminator also classifies."""

    name = "acgan"
    paper = "Odena et al., Conditional Image Synthesis with Auxiliary Classifier GANs, 2017, https://arxiv.org/abs/1610.09585"
    channels_last = ("cuda", "cpu")
    conditional = True

    class Options(ganzoo.Options):
        """Spectral normalisation and high rates, as `sngan` has them; the paper's are a preset."""

        lr: LearningRate = 4e-3
        lr_hold: Hold = 0.5
        b1: Beta1 = 0.0
        b2: Beta2 = 0.99
        width: Width = 32
        norm: Literal["spectral", "batch"] = Field(
            "spectral",
            description="Normalisation in the discriminator.",
            json_schema_extra={"absent": "batch"},
        )
        loss: losses.Name = Field(
            "hinge", description="The adversarial loss.", json_schema_extra={"absent": "non-saturating"}
        )
        classifier: Literal["ac", "tac", "adc", "contra", "d2d-ce", "multi-hinge"] | None = Field(
            None,
            description="How classes are learnt; none: adc, but ac for attributes or with --classify-fakes.",
            json_schema_extra={"absent": "ac"},
        )
        auxiliary: float = Field(1.0, ge=0, le=100, description="Weight of the class loss, in both players.")
        classify_fakes: float = Field(
            0.0,
            ge=0,
            le=100,
            description="With classifier ac, contra or d2d-ce: weight of the class loss of fakes in D's turn, beside "
            "real images'.",
            json_schema_extra={"absent": 1.0},
        )

    presets: ClassVar = {
        "paper": {
            "lr": 2e-4,
            "lr_hold": 1.0,
            "b1": 0.5,
            "b2": 0.999,
            "norm": "batch",
            "loss": "non-saturating",
            "classifier": "ac",
            "classify_fakes": 1.0,
        },
    }

    def __init__(self, data: ganzoo.DataSpec, options: Options):
        super().__init__(data, options)
        named = options.classifier or ("ac" if self.data.attributes or options.classify_fakes else "adc")
        classifier = CLASSIFIERS[named]
        if classifier.for_classes and self.data.attributes:
            raise UsageError(
                f"model 'acgan': --classifier {named} names classes, and data set '{data.name}' has "
                "attributes: choose --classifier ac"
            )
        self.real_entropy = losses.ADVERSARIAL[options.loss].entropy
        self.batch_statistics = issubclass(classifier, Contrastive)  # Features of a batch are compared.
        self.generator = ConvGenerator(self.data, options.latent_dim, options.width)
        self.discriminator = Discriminator(self.data, options.width, options.norm, classifier)

    def refuse_idle(self) -> None:
        o = self.options
        if o.classify_fakes and type(self.discriminator.auxiliary).of_fake is not Classifier.of_fake:
            raise UsageError(
                f"--classify-fakes weighs the class loss of fakes, and --classifier {o.classifier} has one of its own: "
                "leave it out, or choose ac, contra or d2d-ce"
            )

    def discriminator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        o, classifier = self.options, self.discriminator.auxiliary
        (real_logits, real_said), (fake_logits, fake_said) = self.discriminate(real, fake)
        terms = {
            "adversarial": losses.ADVERSARIAL[o.loss].discriminator(real_logits, fake_logits),
            "class of real": o.auxiliary * classifier.of_real(real_said, real.y),
        }
        of_fake = classifier.of_fake(fake_said, fake.y)
        if of_fake is not None:
            terms["class of fake"] = o.auxiliary * of_fake
        elif o.classify_fakes:
            terms["class of fake"] = o.auxiliary * o.classify_fakes * classifier.of_real(fake_said, fake.y)
        return terms

    def generator_loss(self, real: ganzoo.Batch, fake: ganzoo.Batch) -> dict[str, Tensor]:
        o = self.options
        logits, said = self.discriminate(fake)
        return {
            "adversarial": losses.ADVERSARIAL[o.loss].generator(logits),
            "class": o.auxiliary * self.discriminator.auxiliary.of_generator(said, fake.y),
        }

    def score(self, logits: Tensor) -> Tensor:
        return losses.ADVERSARIAL[self.options.loss].score(logits)


@ganzoo.hookimpl
def register_models(register):
    register(ACGAN)

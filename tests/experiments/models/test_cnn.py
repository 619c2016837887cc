"""The network never mixes samples, and what it is normalised by is public and fixed."""

import pytest
import torch
from peft import LoraConfig, get_peft_model

from experiments.models import Cnn, CnnConfig
from secagg.errors import SottoError

LAYERS = ("conv1", "conv2", "fc")


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Cnn(CnnConfig.for_images((8, 8), (4, 6))).eval()


@pytest.mark.parametrize("size", [(28, 28), (8, 8), (16, 20)])
def test_logits_have_one_row_an_image(size):
    model = Cnn(CnnConfig.for_images(size, (3, 5), classes=7))
    assert model(torch.rand(4, 1, *size)).shape == (4, 7)


def test_lora_targets_are_the_two_convolutions_and_the_fully_connected_layer(model):
    assert tuple(name for name, _ in model.named_children()) == LAYERS
    peft_model = get_peft_model(model, LoraConfig(r=2, target_modules=list(LAYERS)))
    trainable = [name for name, p in peft_model.named_parameters() if p.requires_grad]
    assert len(trainable) == 6
    assert all("lora_" in name for name in trainable)
    peft_model(torch.rand(2, 1, 8, 8)).sum().backward()
    assert all(p.grad is not None for p in peft_model.parameters() if p.requires_grad)


def test_a_sample_does_not_depend_on_its_batch(model):
    model.fit_normalisation(model.pooled(torch.rand(200, 1, 8, 8)).detach())
    images = torch.rand(5, 1, 8, 8)
    alone = torch.cat([model(image[None]) for image in images])
    torch.testing.assert_close(model(images), alone, rtol=1e-4, atol=1e-5)
    model.train()
    torch.testing.assert_close(model(images), alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("brightness", [0.01, 1.0])
def test_features_of_every_image_have_one_norm(model, brightness):
    model.fit_normalisation(model.pooled(torch.rand(200, 1, 8, 8)).detach())
    features = model.features(brightness * torch.rand(50, 1, 8, 8))
    expected = torch.full((50,), model.shape.components**0.5)
    torch.testing.assert_close(features.norm(dim=1), expected, rtol=1e-3, atol=0.0)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_blank_image_gives_finite_logits_and_gradients(model, value):
    images = torch.full((1, 1, 8, 8), value, requires_grad=True)
    model(images).sum().backward()
    assert torch.isfinite(model(images)).all()
    assert torch.isfinite(images.grad).all()


def test_the_fitted_normalisation_centres_and_whitens_public_features():
    torch.manual_seed(1)
    model = Cnn(CnnConfig((8, 8), (3, 4), kernel=3, grid=2, components=6))
    latent = torch.randn(5000, 16) @ torch.randn(16, 16) + 3
    model.fit_normalisation(latent, ridge=0.0)
    white = (latent - model.center) @ model.whitening
    torch.testing.assert_close(white.mean(0), torch.zeros(6), rtol=0, atol=1e-3)
    torch.testing.assert_close(white.T @ white / 5000, torch.eye(6), rtol=0, atol=1e-3)
    # The six directions kept are those of largest variance: what is left over is what SVD says it is.
    singular = torch.linalg.svdvals((latent - latent.mean(0)).double())
    span = torch.linalg.qr(model.whitening.double()).Q
    rest = (latent - latent.mean(0)).double()
    rest = rest - rest @ span @ span.T
    torch.testing.assert_close(rest.square().sum(), singular[6:].square().sum(), rtol=1e-3, atol=0.0)


def test_normalisation_statistics_are_buffers_saved_with_the_weights(model):
    assert {"center", "whitening"} <= set(model.state_dict())
    assert {name for name, _ in model.named_parameters()} == {
        f"{layer}.{kind}" for layer in LAYERS for kind in ("weight", "bias")
    }


@pytest.mark.parametrize(
    "arguments",
    [
        {"image_size": (3, 28)},
        {"image_size": (28, 28), "channels": (0, 4)},
        {"image_size": (28, 28), "channels": (4, 4, 4)},
        {"image_size": (28, 28), "classes": 1},
        {"image_size": (28, 28), "kernel": 4},
        {"image_size": (28, 28), "grid": 15},
        {"image_size": (28, 28), "grid": 0},
        {"image_size": (28, 28), "channels": (4, 2), "components": 51},
        {"image_size": (28, 28), "components": 0},
    ],
)
def test_impossible_shapes_are_refused_in_one_sentence(arguments):
    with pytest.raises(SottoError, match="allowed") as caught:
        CnnConfig(**arguments)
    assert "\n" not in str(caught.value)

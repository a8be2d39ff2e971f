"""The class-conditional layout: what an independent forward computes is reproduced, and classes reach their images."""

from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from ldsmc_bench.checkpoints import compvis
from ldsmc_bench.checkpoints.convert import build_on_meta, convert_networks
from ldsmc_bench.checkpoints.latent import LatentPrior
from ldsmc_bench.config import instantiate, validate
from ldsmc_bench.errors import UserError
from tests.checkpoints import compvis_reference as reference
from tests.checkpoints.conditional_files import Written, class_conditional
from tests.commands import configured

load = partial(compvis.load, published="cin256")
T = torch.tensor([3.0, 400.0, 999.0, 0.0])


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


Z, X = normal(4, 3, 8, 8), normal(2, 3, 16, 16, seed=1).clamp(-1, 1)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    return class_conditional(tmp_path_factory.mktemp("classes"))


@pytest.fixture(scope="module")
def prior(written: Written) -> LatentPrior:
    return load(written.folder)


def expected_eps(unet: nn.Module, written: Written, classes: list[int]) -> Tensor:
    with torch.no_grad():
        return unet(Z, T, written.conditioner(torch.tensor(classes))[:, None])


def close(computed: Tensor, expected: Tensor) -> None:
    assert computed.shape == expected.shape
    assert expected.std() > 0.1  # not degenerate
    assert (computed - expected).abs().max() < 1e-4


@pytest.mark.parametrize("ema", [True, False])
def test_the_noise_of_each_class_is_that_of_an_independent_forward(written, ema):
    unet = written.average if ema else written.unet
    found = load(written.folder, ema=ema).conditioned([7, 2, 0, 9])
    close(found.eps(Z, T), expected_eps(unet, written, [7, 2, 0, 9]))
    assert (expected_eps(written.average, written, [7] * 4) - expected_eps(written.unet, written, [7] * 4)).std() > 0.1


def test_the_first_stage_is_that_of_an_independent_forward(written, prior):
    close(prior.encode(X), written.first_stage.encode(X))
    close(prior.decode(2 * Z), written.first_stage.decode(2 * Z))


def test_particles_follow_the_class_of_their_image(written, prior):
    """Four rows, two images: two rows in a row are of one image."""
    assert (
        expected_eps(written.average, written, [7] * 4) - expected_eps(written.average, written, [2] * 4)
    ).std() > 0.1
    close(prior.conditioned([7, 2]).eps(Z, T), expected_eps(written.average, written, [7, 7, 2, 2]))


def test_without_labels_it_is_the_unconditional_model(written, prior):
    close(prior.conditioned(None).eps(Z, T), expected_eps(written.average, written, [10] * 4))
    close(prior.conditioned([1]).conditioned(None).eps(Z, T), expected_eps(written.average, written, [10] * 4))


@pytest.mark.parametrize("scale", [0.0, 1.5, 3.0])
def test_guidance_goes_from_the_unconditional_noise_through_the_conditional(written, prior, scale):
    guided = replace(prior, guidance_scale=scale).conditioned([7, 2])
    free = expected_eps(written.average, written, [10] * 4)
    bound = expected_eps(written.average, written, [7, 7, 2, 2])
    close(guided.eps(Z, T), free + scale * (bound - free))


@pytest.mark.parametrize(("scale", "rows"), [(1.0, 4), (3.0, 8)])
def test_only_guidance_doubles_the_one_call_of_the_network(prior, scale, rows):
    guided = replace(prior, guidance_scale=scale).conditioned([7, 2])
    sizes: list[int] = []
    hook = guided.unet.register_forward_hook(lambda network, given, out: sizes.append(len(out[0])))
    guided.eps_and_variance(Z, T)
    hook.remove()
    assert sizes == [rows]


def test_the_gradient_passes_through_guidance(prior):
    guided = replace(deepcopy(prior), guidance_scale=2.0).conditioned([7, 2])
    guided = guided.to(torch.device("cpu"), torch.float64)
    z, direction = Z.double().requires_grad_(), normal(*Z.shape, seed=2).double()
    (gradient,) = torch.autograd.grad(guided.eps(z, T).sum(), z)
    with torch.no_grad():
        step = (guided.eps(z + 1e-5 * direction, T) - guided.eps(z - 1e-5 * direction, T)).sum() / 2e-5
    assert (gradient * direction).sum().item() == pytest.approx(step.item(), rel=1e-4)


def test_precision_and_device_apply_to_all_its_parts(written, prior):
    half = load(written.folder).conditioned([7, 2]).to(torch.device("cpu"), torch.bfloat16)
    assert half.eps(Z, T).dtype == torch.float32 and half.decode(Z).dtype == torch.float32
    assert half.codec.codebook.dtype == torch.float32
    assert (half.eps(Z, T) - prior.conditioned([7, 2]).eps(Z, T)).abs().max() < 0.3
    close(half.conditioned([3, 2]).context.float(), prior.classes[[3, 2]].bfloat16().float())


def test_a_class_that_is_none_and_guidance_towards_nothing_are_named(written, prior):
    for label in (-1, 11):
        with pytest.raises(UserError, match=f"class {label} is not one that the prior knows, 0 to 10"):
            prior.conditioned([0, label])
    with pytest.raises(UserError, match=r"prior\.guidance_scale=2\.0: the data set has no classes"):
        load(written.folder, guidance_scale=2.0).conditioned(None)


def test_whatever_changes_the_computation_changes_the_digest(written):
    kinds = [{}, {"ema": False}, {"guidance_scale": 2.0}]
    assert len({load(written.folder, **kind).digest for kind in kinds}) == 3
    assert load(written.folder).digest == load(written.folder).digest


def test_a_file_with_one_copy_of_the_unet_is_read_either_way(tmp_path):
    written = class_conditional(tmp_path, with_average=False)
    for ema in (True, False):
        found = load(tmp_path, ema=ema).conditioned([5])
        close(found.eps(Z, T), expected_eps(written.unet, written, [5] * 4))


def altered(written: Written, folder: Path, **changed: Tensor | None) -> Path:
    """The checkpoint with some weights replaced, or left out where they are None."""
    weights = {key: tensor for key, tensor in {**written.weights, **changed}.items() if tensor is not None}
    torch.save(reference.lightning(weights), folder / "model.ckpt")
    (folder / "config.yaml").write_bytes((written.folder / "config.yaml").read_bytes())
    return folder


@pytest.mark.parametrize(
    "key",
    [
        "model_ema.diffusion_modelmiddle_block1transformer_blocks0attn2to_kweight",
        "first_stage_model.quantize.embedding.weight",
        "cond_stage_model.embedding.weight",
    ],
)
def test_a_missing_key_is_named(written, tmp_path, key):
    with pytest.raises(UserError, match=f"missing key {key};"):
        load(altered(written, tmp_path, **{key: None}))


def test_an_unexpected_key_and_another_number_of_classes_are_named(written, tmp_path):
    key = "model.diffusion_model.label_emb.weight"
    with pytest.raises(UserError, match=f"unexpected key {key};"):
        load(altered(written, tmp_path, **{key: torch.zeros(1)}), ema=False)
    embedding = "cond_stage_model.embedding.weight"
    with pytest.raises(UserError, match=rf"{embedding} has shape \(12, 24\), but the config asks for \(11, 24\)"):
        load(altered(written, tmp_path, **{embedding: torch.zeros(12, 24)}))


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("use_spatial_transformer: true", "use_spatial_transformer: false", "use_spatial_transformer"),
        ("conditioning_key: crossattn", "conditioning_key: concat", "conditioning_key"),
        ("ClassEmbedder", "BERTEmbedder", "cond_stage_config.target"),
        ("num_head_channels: 16", "num_head_channels: 48", "num_head_channels"),
        ("n_classes: 11", "n_classes: many", "n_classes"),
    ],
)
def test_a_config_of_another_network_is_refused_by_key(written, tmp_path, old, new, named):
    text = (written.folder / "config.yaml").read_text()
    assert old in text
    (tmp_path / "config.yaml").write_text(text.replace(old, new))
    with pytest.raises(UserError, match=named) as refusal:
        compvis.describe(tmp_path, "cin256")
    assert "\n" not in str(refusal.value)


def published() -> dict[str, nn.Module]:
    """The networks of cin256-v2 at full width, without memory, with the prefixes of their keys."""
    with torch.device("meta"):
        return {
            "model.diffusion_model.": reference.UNet(3, 192, (1, 2, 3, 5), 2, (8, 4, 2), lambda c: 1, 1, 512),
            "first_stage_model.": reference.VqStage(128, (1, 2, 4), 2, 3, codes=8192),
            "cond_stage_model.embedding.": nn.Embedding(1001, 512),
        }


def test_the_full_size_networks_take_every_key_of_the_published_layout():
    """400.92 M parameters in the UNet is what CompVis' own scripts print for cin256-v2."""
    weights = {key: w for prefix, network in published().items() for key, w in reference.keyed(prefix, network).items()}
    shapes = compvis.CIN256.shapes
    built = {name: build_on_meta(shape, Path("x")) for name, shape in shapes.items()}
    keys = compvis.file_keys(compvis.CIN256, averaged=False)
    assert convert_networks(built, shapes, keys, weights, Path("x"))  # refuses a key too few or too many
    assert sum(weight.numel() for weight in built["unet"].parameters()) / 1e6 == pytest.approx(400.92, abs=0.005)


def configured_prior(*overrides: str):
    return instantiate(validate(configured("prior=ldm_imagenet", *overrides)).config["prior"]["load"])


def test_the_configuration_reaches_the_prior(written):
    found = configured_prior(f"prior.path={written.folder}", "prior.image_size=16", "prior.guidance_scale=2")
    assert found.guidance_scale == 2 and found.image_size == 16 and found.shape == (3, 8, 8)


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        ((), r"fetch prior=ldm_imagenet"),
        (("prior.image_size=256",), r"prior\.image_size=256: .* set prior\.image_size=16"),
        (("prior.guidance_scale=much",), r"prior\.guidance_scale=much"),
        (("prior.ema=perhaps",), r"prior\.ema=perhaps"),
    ],
)
def test_what_the_configuration_has_wrong_is_named(written, overrides, named):
    where = (f"prior.path={written.folder}",) if overrides else ()
    with pytest.raises(UserError, match=named) as refusal:
        configured_prior(*where, *overrides)
    assert "\n" not in str(refusal.value)


def test_random_weights_are_marked_and_need_no_file(written, tmp_path, capsys):
    (tmp_path / "config.yaml").write_bytes((written.folder / "config.yaml").read_bytes())
    found = configured_prior(f"prior.path={tmp_path}", "prior.image_size=16", "prior.random_weights=true")
    assert found.digest.startswith("random-weights") and "RANDOM WEIGHTS" in capsys.readouterr().err
    assert found.conditioned([3]).eps(Z, T).shape == Z.shape

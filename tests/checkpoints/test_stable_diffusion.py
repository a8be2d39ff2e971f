"""Stable Diffusion in both its layouts: what an independent forward computes is reproduced, with any prompt."""

import json
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from ldsmc_bench.checkpoints import compvis
from ldsmc_bench.checkpoints.clip import EMPTY
from ldsmc_bench.checkpoints.convert import build_on_meta, convert_networks
from ldsmc_bench.checkpoints.latent import LatentPrior
from ldsmc_bench.config import instantiate, validate
from ldsmc_bench.errors import UserError
from ldsmc_bench.prior.codec import KlCodec
from tests.checkpoints import compvis_reference as reference
from tests.checkpoints.conditional_files import Written, text_conditional
from tests.commands import configured

pytest.importorskip("transformers", reason="needs the extra [text]")
load = partial(compvis.load, published="sd15")
SCALE = 0.18215
CAT = (49406, 2, 3, *[49407] * 74)  # "cat" with the vocabulary below


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


Z, X, T = normal(2, 4, 8, 8), normal(2, 3, 16, 16, seed=1).clamp(-1, 1), torch.tensor([3.0, 999.0])


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    found = text_conditional(tmp_path_factory.mktemp("text"))
    (found.folder / "vocab.json").write_text(json.dumps({"c": 0, "a": 1, "ca": 2, "t</w>": 3}))
    (found.folder / "merges.txt").write_text("#version: 0.2\nc a\n")
    return found


@pytest.fixture(scope="module")
def prior(written: Written) -> LatentPrior:
    return load(written.folder)


@pytest.fixture(scope="module")
def diffusers_folder(written: Written, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same model as diffusers would save it: its own config files, the autoencoder's attention named as of old."""
    folder = tmp_path_factory.mktemp("diffusers")
    model = compvis.describe(written.folder, "sd15")
    networks = compvis.read_networks(written.folder / "model.ckpt", model, ema=True)
    for name, part in (("unet", "unet"), ("vae", "first_stage")):
        networks[part].save_config(folder / name)
    edit(folder / "unet" / "config.json", sample_size=8)
    (folder / "text_encoder").mkdir()
    text = {"hidden_size": 128, "num_hidden_layers": 12, "num_attention_heads": 2, "vocab_size": 49408}
    text |= {"max_position_embeddings": 77, "hidden_act": "quick_gelu"}
    (folder / "text_encoder" / "config.json").write_text(json.dumps(text))
    (folder / "scheduler").mkdir()
    betas = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "num_train_timesteps": 1000}
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(betas))
    save_file(networks["unet"].state_dict(), folder / "unet" / "diffusion_pytorch_model.safetensors")
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    vae = networks["first_stage"].state_dict()
    for new, name in old.items():
        vae = {key.replace(f"attentions.0.{new}", f"attentions.0.{name}"): weight for key, weight in vae.items()}
    assert sum("query" in key for key in vae) == 4
    save_file(vae, folder / "vae" / "diffusion_pytorch_model.safetensors")
    encoder = reference.keyed("text_model.", written.conditioner)
    save_file(encoder, folder / "text_encoder" / "model.safetensors")
    return folder


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def expected_eps(written: Written, tokens: tuple[int, ...]) -> Tensor:
    with torch.no_grad():
        return written.unet(Z, T, written.conditioner(torch.tensor([tokens] * 2)))


def close(computed: Tensor, expected: Tensor) -> None:
    assert computed.shape == expected.shape
    assert expected.std() > 0.1  # not degenerate
    assert (computed - expected).abs().max() < 1e-4


def test_the_empty_prompt_is_embedded_as_by_an_independent_forward(written, prior):
    close(prior.context, written.conditioner(torch.tensor([EMPTY])))
    assert EMPTY[:3] == (49406, 49407, 49407) and len(EMPTY) == 77


def test_the_noise_is_that_of_an_independent_forward(written, prior):
    close(prior.eps(Z, T), expected_eps(written, EMPTY))
    close(prior.conditioned([5, 6]).eps(Z, T), expected_eps(written, EMPTY))  # an image's class does not matter


def test_the_first_stage_is_that_of_an_independent_forward(written, prior):
    close(prior.decode(Z), written.first_stage.decode(Z / SCALE))
    mean, std = written.first_stage.posterior(X)
    close(prior.encode(X), SCALE * mean)
    assert isinstance(prior.codec, KlCodec)
    noise = normal(*mean.shape, seed=3)
    close(prior.codec.encode(X, noise), SCALE * (mean + std * noise))


def test_encoding_draws_nothing(prior):
    state = torch.random.get_rng_state()
    assert torch.equal(prior.encode(X), prior.encode(X))
    assert torch.equal(state, torch.random.get_rng_state())


def test_the_schedule_is_stable_diffusions(prior):
    torch.testing.assert_close(prior.alpha_bar, reference.alphas_cumprod(0.00085, 0.012))
    assert prior.alpha_bar[-1].item() == pytest.approx(0.00466, abs=1e-5)


def test_guidance_goes_from_the_empty_prompt_through_the_given_one(written):
    guided = load(written.folder, prompt="CAT ", guidance_scale=7.5)
    free, bound = expected_eps(written, EMPTY), expected_eps(written, CAT)
    assert (bound - free).std() > 0.05
    assert (guided.eps(Z, T) - (free + 7.5 * (bound - free))).abs().max() < 1e-3
    plain = load(written.folder, prompt="cat")
    close(plain.eps(Z, T), bound)


def test_guidance_towards_the_empty_prompt_costs_nothing_since_it_does_nothing(written):
    guided = load(written.folder, guidance_scale=7.5)
    sizes: list[int] = []
    guided.unet.register_forward_hook(lambda network, given, out: sizes.append(len(out[0])))
    close(guided.eps(Z, T), expected_eps(written, EMPTY))
    assert sizes == [2]


def test_a_safetensors_file_by_its_own_path_is_the_same(written, prior, tmp_path):
    path = tmp_path / "any name.safetensors"
    save_file({key: weight.contiguous() for key, weight in written.weights.items()}, path)
    (tmp_path / "config.yaml").write_bytes((written.folder / "config.yaml").read_bytes())
    found = load(path)
    close(found.eps(Z, T), prior.eps(Z, T))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"any name\.safetensors: cannot be read, the file is truncated") as refusal:
        load(path)
    assert "\n" not in str(refusal.value)


def test_a_diffusers_folder_is_the_same(written, prior, diffusers_folder):
    found = load(diffusers_folder)
    close(found.eps(Z, T), expected_eps(written, EMPTY))
    close(found.decode(Z), prior.decode(Z))
    close(found.encode(X), prior.encode(X))
    assert torch.equal(found.alpha_bar, prior.alpha_bar)
    assert (found.shape, found.image_size) == (prior.shape, prior.image_size) == ((4, 8, 8), 16)


@pytest.mark.parametrize("key", ["cond_stage_model.transformer.text_model.encoder.layers.11.mlp.fc2.bias"])
def test_a_missing_key_of_a_checkpoint_is_named(written, tmp_path, key):
    weights = {name: weight for name, weight in written.weights.items() if name != key}
    torch.save(reference.lightning(weights), tmp_path / "model.ckpt")
    (tmp_path / "config.yaml").write_bytes((written.folder / "config.yaml").read_bytes())
    with pytest.raises(UserError, match=f"missing key {key};"):
        load(tmp_path)


def published() -> dict[str, nn.Module]:
    """The networks of Stable Diffusion v1 at full width, without memory, with the prefixes of their keys."""
    with torch.device("meta"):
        return {
            "model.diffusion_model.": reference.UNet(4, 320, (1, 2, 4, 4), 2, (4, 2, 1), lambda c: 8, 1, 768),
            "first_stage_model.": reference.KlStage(128, (1, 2, 4, 4), 2, 4),
            "cond_stage_model.transformer.text_model.": reference.Text(768, heads=12),
        }


def test_the_full_size_networks_take_every_key_of_the_published_layout():
    """859.52 M parameters in the UNet is what CompVis' own scripts print."""
    model = compvis.SD15
    weights = {key: w for prefix, network in published().items() for key, w in reference.keyed(prefix, network).items()}
    built = {name: build_on_meta(shape, Path("x")) for name, shape in model.shapes.items()}
    keys = compvis.file_keys(model, averaged=False)
    assert convert_networks(built, model.shapes, keys, weights, Path("x"))  # refuses a key too few or too many
    sizes = {name: sum(w.numel() for w in network.parameters()) / 1e6 for name, network in built.items()}
    assert sizes["unet"] == pytest.approx(859.52, abs=0.005)
    assert sizes["first_stage"] == pytest.approx(83.65, abs=0.005)
    assert sizes["conditioner"] == pytest.approx(123.06, abs=0.005)


def configured_prior(*overrides: str):
    return instantiate(validate(configured("prior=sd15", *overrides)).config["prior"]["load"])


def test_the_configuration_reaches_the_prior(written):
    where = f"prior.path={written.folder}"
    found = configured_prior(where, "prior.image_size=24", "prior.prompt=cat", "prior.guidance_scale=2")
    assert found.guidance_scale == 2 and found.image_size == 24 and found.shape == (4, 12, 12)
    assert found.digest != configured_prior(where, "prior.image_size=24", "prior.guidance_scale=2").digest
    z = normal(1, 4, 12, 12)
    assert found.eps(z, T[:1]).shape == z.shape and found.decode(z).shape == (1, 3, 24, 24)


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        ((), "fetch prior=sd15"),
        (("prior.image_size=20",), r"prior\.image_size=20: must be a multiple of 8"),
        (("prior.image_size=16", "prior.guidance_scale=-1"), r"prior\.guidance_scale=-1"),
        (("prior.image_size=16", "prior.prompt=dog"), r"prior\.prompt"),
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
    assert found.eps(Z, T).shape == Z.shape

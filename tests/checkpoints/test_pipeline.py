"""A pipeline of each kind, saved by diffusers with random weights: what its own networks compute is computed."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline, schedulers
from safetensors.torch import load_file
from torch import Tensor

from ldsmc_bench.checkpoints.levels import LEAST, Levels, read_levels
from ldsmc_bench.checkpoints.network_prior import NetworkPrior
from ldsmc_bench.checkpoints.pipeline import load
from ldsmc_bench.errors import UserError
from tests.checkpoints import tiny_pipelines as tiny
from tests.commands import tiny as tiny_run

close = torch.testing.assert_close


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


KINDS: dict[str, tuple[Callable[[], Any], int]] = {
    "ddpm": (tiny.ddpm, 16),
    "ldm vq": (lambda: tiny.ldm("vq"), 16),
    "ldm kl": (lambda: tiny.ldm("kl"), 16),
    "sd": (tiny.sd, 16),
    "sd v": (lambda: tiny.sd(prediction_type="v_prediction", rescale_betas_zero_snr=True), 16),
    "sdxl": (tiny.sdxl, 16),
    "playground": (tiny.playground, 16),
    "sd3": (tiny.sd3, 16),
    "sd3 without t5": (lambda: tiny.sd3(third=False), 16),
    "flux": (tiny.flux, 16),
    "flux distilled": (lambda: tiny.flux(distilled=True), 16),
}
PLAIN = ("ddpm", "ldm vq", "ldm kl")  # without texts
BETAS = (*PLAIN, "sd", "sd v", "sdxl")
FLOWS = ("sd3", "sd3 without t5", "flux", "flux distilled")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One folder of each kind, made when it is asked for."""

    class Made(dict[str, Path]):
        def __missing__(self, kind: str) -> Path:
            if kind not in PLAIN:
                pytest.importorskip("transformers", reason="needs the extra [text]")
            self[kind] = tiny.saved(KINDS[kind][0](), tmp_path_factory.mktemp(kind.replace(" ", "_")))
            return self[kind]

    return Made()


def reloaded(folders: dict[str, Path], kind: str) -> Any:
    """The pipeline as diffusers itself loads it; a part that was left out must be named."""
    absent = {"text_encoder_3": None, "tokenizer_3": None} if kind == "sd3 without t5" else {}
    return DiffusionPipeline.from_pretrained(folders[kind], **absent)


def network_outputs(pipeline: Any, z: Tensor, t: Tensor, prompt: str) -> Tensor:
    """What the pipeline's network returns, called as its own `__call__` does."""
    rows, name = len(z), type(pipeline).__name__
    if not hasattr(pipeline, "text_encoder"):
        return pipeline.unet(z, t).sample
    if name == "StableDiffusionPipeline":
        bound, _ = pipeline.encode_prompt(prompt, "cpu", 1, True)
        return pipeline.unet(z, t, bound.expand(rows, -1, -1)).sample
    if name == "FluxPipeline":
        bound, pooled, texts = pipeline.encode_prompt(prompt, device="cpu")
        packed = pipeline._pack_latents(z, rows, *z.shape[1:])
        places = pipeline._prepare_latent_image_ids(1, z.shape[2] // 2, z.shape[3] // 2, "cpu", torch.float32)
        guidance = torch.ones(rows) if pipeline.transformer.config.guidance_embeds else None
        out = pipeline.transformer(
            packed, bound.expand(rows, -1, -1), pooled.expand(rows, -1), t / 1000, places, texts, guidance
        ).sample
        return pipeline._unpack_latents(out, 16, 16, pipeline.vae_scale_factor)
    if name == "StableDiffusion3Pipeline":
        _, free, _, pooled = pipeline.encode_prompt(prompt, None, None, device="cpu")
        return pipeline.transformer(z, free.expand(rows, -1, -1), pooled.expand(rows, -1), t).sample
    _, free, _, pooled = pipeline.encode_prompt(prompt, device="cpu")
    assert not free.any()  # zeros, as force_zeros_for_empty_prompt has it
    times = pipeline._get_add_time_ids((16, 16), (0, 0), (16, 16), free.dtype, pooled.shape[-1])
    added = {"text_embeds": pooled.expand(rows, -1), "time_ids": times.expand(rows, -1)}
    return pipeline.unet(z, t, free.expand(rows, -1, -1), added_cond_kwargs=added).sample


@pytest.mark.parametrize("kind", BETAS)
@pytest.mark.parametrize("t", [0, 400, 998])
def test_eps_is_what_the_pipelines_own_scheduler_makes_of_its_network(folders, kind, t):
    theirs = reloaded(folders, kind)
    ours = load(str(folders[kind]), KINDS[kind][1])
    z = normal(2, *ours.shape)
    out = network_outputs(theirs, z, torch.tensor([t, t]), "")
    scheduler = schedulers.DDIMScheduler.from_config(theirs.scheduler.config, clip_sample=False)
    scheduler.set_timesteps(1000)
    x_0 = scheduler.step(out, t, z).pred_original_sample
    a = scheduler.alphas_cumprod[t]
    close(ours.alpha_bar[t].float(), a, rtol=1e-4, atol=1e-6)
    eps = ours.eps(z, torch.tensor([t, t]))
    close(eps, (z - a.sqrt() * x_0) / (1 - a).sqrt(), rtol=1e-4, atol=1e-4 if t else 2e-3)
    if kind != "sd v":
        close(eps, out, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", FLOWS)
@pytest.mark.parametrize("step", [0, 500, 998])
def test_a_flow_is_seen_at_the_levels_of_its_own_scheduler(folders, kind, step):
    """x = (1 - s) x_0 + s n, and the network gives n - x_0: the scheduler's shifted s, steps counted from the data."""
    theirs = reloaded(folders, kind)
    ours = load(str(folders[kind]), KINDS[kind][1])
    mu = 0.5 + (16 - 256) * (1.15 - 0.5) / (4096 - 256) if kind == "flux distilled" else None  # 16 tokens
    theirs.scheduler.set_timesteps(sigmas=np.linspace(1, 1e-3, 1000), mu=mu)
    s = theirs.scheduler.sigmas[999 - step]
    z = normal(2, *ours.shape)
    x = z * ((1 - s) ** 2 + s**2).sqrt()
    v = network_outputs(theirs, x, (1000 * s).expand(2), "")
    eps = ours.eps(z, torch.tensor([step, step]))
    close(eps, x + (1 - s) * v, rtol=1e-4, atol=1e-4)
    a = ours.alpha_bar[step].float()
    close((z - (1 - a).sqrt() * eps) / a.sqrt(), x - s * v, rtol=1e-3, atol=1e-3)


def test_an_edm_pipeline_is_seen_as_its_scheduler_scales_it(folders):
    theirs = reloaded(folders, "playground")
    ours = load(str(folders["playground"]), 16)
    for step in (0, 500, 998):
        sigma = theirs.scheduler.sigmas[:-1].flip(0)[step]
        z = normal(2, *ours.shape)
        x = z * (1 + sigma**2).sqrt()
        given, time = theirs.scheduler.precondition_inputs(x, sigma), theirs.scheduler.precondition_noise(sigma)
        denoised = theirs.scheduler.precondition_outputs(x, network_outputs(theirs, given, time.expand(2), ""), sigma)
        close(ours.eps(z, torch.tensor([step, step])), (x - denoised) / sigma, rtol=1e-4, atol=1e-4 if step else 2e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_encode_and_decode_are_those_of_the_pipelines_autoencoder(folders, kind):
    theirs, ours = reloaded(folders, kind), load(str(folders[kind]), KINDS[kind][1])
    x, z = normal(2, 3, 16, 16).clamp(-1, 1), normal(2, *ours.shape, seed=1)
    if kind == "ddpm":
        assert ours.decode(z) is z and ours.encode(x) is x
        return
    codec = theirs.vqvae if "ldm" in kind else theirs.vae
    scale, shift = codec.config.scaling_factor, codec.config.get("shift_factor") or 0.0
    if kind == "playground":
        mean, std = (torch.tensor(codec.config[key]).reshape(1, 4, 1, 1) for key in ("latents_mean", "latents_std"))
        close(ours.encode(x), (codec.encode(x).latent_dist.mean - mean) * scale / std, rtol=0, atol=1e-4)
        close(ours.decode(z), codec.decode(z * std / scale + mean).sample, rtol=0, atol=1e-4)
        return
    encoded = codec.encode(x)
    close(
        ours.encode(x),
        ((encoded[0] if kind == "ldm vq" else encoded.latent_dist.mean) - shift) * scale,
        rtol=0,
        atol=1e-4,
    )
    close(ours.decode(z), codec.decode(z / scale + shift).sample, rtol=0, atol=1e-4)


def test_a_prompt_and_guidance_are_those_of_the_pipeline(folders):
    theirs, t = DiffusionPipeline.from_pretrained(folders["sd"]), torch.tensor([500])
    ours = load(str(folders["sd"]), 16, prompt="cat", guidance_scale=3.0)
    z = normal(1, *ours.shape)
    bound, free = theirs.encode_prompt("cat", "cpu", 1, True)
    one, other = (theirs.unet(z, t, states).sample for states in (free, bound))
    close(ours.eps(z, t), one + 3 * (other - one), rtol=0, atol=1e-4)
    assert load(str(folders["sd"]), 16, guidance_scale=3.0).guidance_scale == 1.0  # away from none, towards none


@pytest.mark.parametrize("kind", ["sd", "ldm vq"])
@pytest.mark.parametrize(
    "how",
    [{"variant": "fp16"}, {"safe_serialization": False}, {"max_shard_size": "20KB"}],
    ids=lambda how: next(iter(how)),
)
def test_weights_are_read_in_every_form_that_diffusers_writes(folders, tmp_path, kind, how):
    plain = load(str(folders[kind]), 16)
    folder = tiny.saved(reloaded(folders, kind), tmp_path, **how)
    if "safe_serialization" in how:
        for file in folder.glob("text_encoder/*.safetensors"):  # which transformers itself writes no longer
            torch.save(load_file(file), file.with_name("pytorch_model.bin"))
            file.unlink()
        assert list(folder.glob("*/*.safetensors")) == []
    ours = load(str(folder), 16)
    z, t = normal(2, *plain.shape), torch.tensor([3, 700])
    close(ours.eps(z, t), plain.eps(z, t), rtol=0, atol=1e-5)
    close(ours.decode(z), plain.decode(z), rtol=0, atol=1e-5)
    assert ours.digest != plain.digest or how == {"variant": "fp16"}  # the same bytes under another name


SCHEDULES: list[dict[str, Any]] = [
    {},
    {"beta_schedule": "squaredcos_cap_v2"},
    {"trained_betas": np.linspace(1e-3, 2e-2, 1000).tolist()},
    {"rescale_betas_zero_snr": True, "beta_schedule": "scaled_linear"},
    {"num_train_timesteps": 100, "beta_start": 1e-3, "beta_end": 0.2},
]
ZERO_SNR = ("DDIMScheduler", "DDPMScheduler", "EulerDiscreteScheduler", "UniPCMultistepScheduler")
KINDS_OF_SCHEDULER = (*ZERO_SNR, "PNDMScheduler", "DPMSolverSinglestepScheduler", "HeunDiscreteScheduler")


def written(path: Path, **content: Any) -> Path:
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize("kind", KINDS_OF_SCHEDULER)
@pytest.mark.parametrize("settings", SCHEDULES, ids=str)
def test_levels_are_those_of_diffusers_own_scheduler(tmp_path, kind, settings):
    path = written(tmp_path / "scheduler_config.json", _class_name=kind, **settings)
    if settings.get("rescale_betas_zero_snr") and kind not in ZERO_SNR:
        with pytest.raises(UserError, match=r"rescale_betas_zero_snr is True, but .* does not take it"):
            read_levels(path)
        return
    theirs = getattr(schedulers, kind)(**settings).alphas_cumprod
    ours = read_levels(path).alpha_bar
    close(ours.float()[:-1], theirs[:-1], rtol=1e-4, atol=1e-7)
    if settings.get("rescale_betas_zero_snr"):
        assert ours[-1] == LEAST and float(theirs[-1]) in (0.0, LEAST)


FLOW = "FlowMatchEulerDiscreteScheduler"
DYNAMIC = {"_class_name": FLOW, "use_dynamic_shifting": True}


@pytest.mark.parametrize(
    ("named", "changed"),
    [
        ("_class_name", {"_class_name": "LCMScheduler"}),
        ("beta_schedule", {"beta_schedule": "steep"}),
        ("prediction_type", {"prediction_type": "score"}),
        ("trained_betas", {"trained_betas": [0.1, 0.2]}),
        ("no_such_key", {"no_such_key": 1}),
        ("use_flow_sigmas", {"_class_name": "UniPCMultistepScheduler", "use_flow_sigmas": True}),
        ("timestep_type", {"_class_name": "EulerDiscreteScheduler", "timestep_type": "continuous"}),
        ("num_train_timesteps", {"num_train_timesteps": 1}),
        ("no schedule", {"beta_start": 0.5, "beta_end": 1.5}),
        ("beta_start", {"beta_start": "0.1"}),
        ("shift", {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": "3"}),
        ("invert_sigmas", {"_class_name": "FlowMatchEulerDiscreteScheduler", "invert_sigmas": True}),
        ("use_dynamic_shifting", {"_class_name": "FlowMatchEulerDiscreteScheduler", "use_dynamic_shifting": True}),
        ("sigma_data", {"_class_name": "EDMEulerScheduler", "sigma_data": "x"}),
        ("sigma_data is 0.0, but must be above 0", {"_class_name": "EDMEulerScheduler", "sigma_data": 0.0}),
        ("no noise levels .*division by zero", {"_class_name": "EDMEulerScheduler", "rho": 0.0}),
        ("no noise levels .*sigma_schedule='foo'", {"_class_name": "EDMEulerScheduler", "sigma_schedule": "foo"}),
        ("shift is -2.0, but must be above 0", {"_class_name": FLOW, "shift": -2.0}),
        ("no noise levels .*time_shift_type", {"_class_name": FLOW, "time_shift_type": "cubic"}),
        ("no noise levels .*division by zero", DYNAMIC | {"base_image_seq_len": 256, "max_image_seq_len": 256}),
    ],
)
def test_another_schedule_is_refused_in_one_line(tmp_path, named, changed):
    path = written(tmp_path / "scheduler_config.json", **{"_class_name": "DDIMScheduler"} | changed)
    with pytest.raises(UserError, match=named) as refusal:
        read_levels(path, 64 if "base_image_seq_len" in changed else None)
    assert str(path) in str(refusal.value) and "\n" not in str(refusal.value)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample", "flow", "edm", "edm_v"])
@pytest.mark.parametrize("t", [0.0, 200.5, 999.0])
def test_every_view_of_the_exact_network_of_a_gaussian_gives_its_exact_noise(prediction, t):
    """x_0 ~ N(0, 0.3 I): the best prediction of anything is a number times the input, in closed form."""
    a_all = 1 - torch.linspace(1e-4, 1 - 1e-4, 1000, dtype=torch.float64)
    levels, variance, data = Levels(a_all, prediction, sigma_data=0.6), 0.3, 0.6

    def network(x: Tensor, time: Tensor) -> Tensor:
        if prediction == "flow":
            s = (time / 1000).reshape(-1, 1, 1, 1)
            return (s - (1 - s) * variance) / ((1 - s) ** 2 * variance + s**2) * x
        if prediction.startswith("edm"):
            sigma = (4 * time).exp().reshape(-1, 1, 1, 1)
            given = x * (sigma**2 + data**2).sqrt()
            denoised, skip = given * variance / (variance + sigma**2), given * data**2 / (sigma**2 + data**2)
            scale = sigma * data / (sigma**2 + data**2).sqrt() * (1 if prediction == "edm" else -1)
            return (denoised - skip) / scale
        a = torch.lerp(*a_all[[int(t), min(int(t) + 1, 999)]], t % 1)
        total = a * variance + 1 - a
        noise, clean = (1 - a).sqrt() / total * x, a.sqrt() * variance / total * x
        return {"epsilon": noise, "sample": clean, "v_prediction": a.sqrt() * noise - (1 - a).sqrt() * clean}[
            prediction
        ]

    module = torch.nn.Module()
    module.register_parameter("dtype", torch.nn.Parameter(torch.zeros(1, dtype=torch.float64)))
    module.forward = network  # type: ignore[method-assign]
    prior = NetworkPrior(module, levels, (3, 4, 4), 4, "gaussian")
    z = normal(2, 3, 4, 4).double()
    a = torch.lerp(*a_all[[int(t), min(int(t) + 1, 999)]], t % 1)
    close(prior.eps(z, torch.full((2,), t)), (1 - a).sqrt() / (a * variance + 1 - a) * z, rtol=1e-8, atol=1e-8)


def test_a_prediction_of_another_name_is_refused_with_those_there_are():
    with pytest.raises(UserError, match=r"prediction is foo, but must be epsilon or v_prediction or .* or edm_v$"):
        Levels(torch.tensor([0.9, 0.1]), "foo")  # type: ignore[arg-type]


@pytest.mark.parametrize("out", [3, 5, 6])
def test_a_variance_is_read_where_the_network_gives_one_and_other_channels_are_refused(out):
    network = torch.nn.Conv2d(3, out, 1)
    network.forward = lambda x, t, own=network.forward: own(x)  # type: ignore[method-assign, misc]
    levels = Levels(torch.tensor([0.9, 0.1], dtype=torch.float64), learned_variance=True)
    prior = NetworkPrior(network, levels, (3, 4, 4), 4, "one layer")
    z, t = normal(2, 3, 4, 4), torch.tensor([0, 1])
    if out == 5:
        with pytest.raises(UserError, match="gives 5 channels; 3 are wanted, or 6"):
            prior.eps(z, t)
        return
    eps, variance = prior.eps_and_variance(z, t)
    close(eps, network(z, t)[:, :3])
    assert (variance is None) == (out == 3)


def edited(folder: Path, name: str, **changes: object) -> None:
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("file", "changes", "named"),
    [
        ("model_index.json", {"_class_name": "StableVideoDiffusionPipeline"}, "_class_name"),
        ("model_index.json", {"text_encoder": ["transformers", "BertModel"]}, "text_encoder is BertModel"),
        ("unet/config.json", {"in_channels": 9}, "in_channels is 9"),
        ("unet/config.json", {"sharpen": 1}, "sharpen"),
        ("unet/config.json", {"class_embed_type": "timestep"}, "class_embed_type"),
        ("unet/config.json", {"norm_num_groups": 3}, "unet/config.json"),
        ("vae/config.json", {"scaling_factor": "0.2"}, "scaling_factor"),
        ("vae/config.json", {"scaling_factor": 0.0}, "scaling_factor and latents_std must be above 0"),
        ("vae/config.json", {"latents_mean": [0.1, 0.2]}, r"latents_mean is .*0.1, 0.2.*, but latents have 4 channels"),
        ("scheduler/scheduler_config.json", {"prediction_type": "score"}, "prediction_type"),
    ],
)
def test_what_cannot_be_read_is_one_line_that_names_the_file(folders, tmp_path, file, changes, named):
    folder = tiny.saved(DiffusionPipeline.from_pretrained(folders["sd"]), tmp_path / "copy")
    edited(folder, file, **changes)
    with pytest.raises(UserError, match=named) as refusal:
        load(str(folder), 16)
    assert str(folder / file) in str(refusal.value) and "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("kind", "part"),
    [("ldm vq", "vqvae"), ("sd", "vae"), ("sd", "tokenizer"), ("sd", "text_encoder"), ("ddpm", "scheduler")],
)
def test_a_part_that_the_index_names_and_the_folder_lacks_is_one_line(folders, tmp_path, kind, part):
    shutil.copytree(folders[kind], folder := tmp_path / "copy")
    shutil.rmtree(folder / part)
    with pytest.raises(UserError, match=f"^{folder / part}: no such folder, model_index.json names it; fetch it anew$"):
        load(str(folder), 16)


def test_a_part_without_a_folder_is_read_beside_the_index_as_diffusers_does(folders, tmp_path):
    shutil.copytree(folders["ddpm"], folder := tmp_path / "flat")
    for part in ("unet", "scheduler"):
        for file in (folder / part).iterdir():
            file.rename(folder / file.name)
        (folder / part).rmdir()
    DiffusionPipeline.from_pretrained(folder)
    named = load(str(folder / "model_index.json"), 16)
    assert named.digest == load(str(folders["ddpm"]), 16).digest


def test_a_folder_or_a_size_that_is_absent_or_wrong_is_one_line(folders, tmp_path):
    for path, size, named in (
        (None, 16, "prior.path is not set"),
        (str(tmp_path), 16, "model_index.json: no such file"),
        (str(folders["sd"]), None, "set prior.image_size=16"),
        (str(folders["sd"]), 17, "prior.image_size=17: must be a multiple of 2"),
        (str(folders["sd"]), "abc", "prior.image_size=abc: must be a multiple of 2"),
        (str(folders["ddpm"]), 0, "prior.image_size=0: must be a whole number of pixels"),
        (str(folders["ddpm"]), 16.5, "prior.image_size=16.5: must be a whole number of pixels"),
        (str(folders["ddpm"]), 15, "prior.image_size=15: the networks do not take it; .* was trained for 16"),
    ):
        with pytest.raises(UserError, match=named):
            load(path, size)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="reads no texts"):
        load(str(folders["ddpm"]), 16, prompt="a cat")
    for prompt in (2024, None, ["a", "b"]):
        with pytest.raises(UserError, match=r"^prior\.prompt=.*: is no text; put it in quotes"):
            load(str(folders["ddpm"]), 16, prompt=prompt)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"prior\.channels=3\.0: .* is for images of 3; set prior\.channels=3$"):
        load(str(folders["ddpm"]), 16, channels=3.0)  # type: ignore[arg-type]


METHODS = {
    "ddpm": ("dps", "diffpir", "daps", "tmpd", "flowdps"),
    "sd": ("ldsmc", "latent_dps", "resample", "psld", "latent_daps"),
    "sd v": ("ldsmc", "latent_dps", "resample", "psld", "flowdps"),
    "playground": ("ldsmc", "latent_dps", "latent_daps", "psld", "flowdps"),
    "flux": ("ldsmc", "latent_dps", "latent_daps", "pnpflow", "flowdps"),
    "sd3": ("ldsmc", "latent_dps", "latent_daps", "psld", "flowdps"),
    "sdxl": ("ldsmc", "latent_dps", "resample", "psld", "flowdps"),
    "ldm vq": ("ldsmc", "latent_dps", "resample", "psld", "latent_daps"),
}


@pytest.mark.parametrize(
    "kind", ["ldm vq", *(pytest.param(k, marks=pytest.mark.slow) for k in METHODS if k != "ldm vq")]
)
def test_five_methods_run_on_it(folders, tmp_path, kind):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    from PIL import Image

    for i in range(2):
        Image.fromarray(np.random.default_rng(i).integers(0, 255, (20, 16, 3), dtype=np.uint8)).save(
            pictures / f"{i}.png"
        )
    chosen = (f"prior.path={folders[kind]}", "prior.image_size=16", "dataset=folder", f"dataset.root={pictures}")
    done = tiny_run(
        tmp_path, "-m", f"method={','.join(METHODS[kind])}", "prior=diffusers", "task=box", "particles=1", *chosen
    )
    assert done.code == 0, done.err
    records = [json.loads(path.read_text()) for path in tmp_path.glob("results/runs/*/records/*.json")]
    assert len(records) == 10 and {one["status"] for one in records} == {"ok"}

"""What comes from where: one file of a publisher for each name.

An address is marked with where it was read: `installed`, in the source of a package that this project depends on (tests
compare it with that source), or `published`, in the README or the script that the authors publish beside their code.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit


@dataclass(frozen=True)
class Source:
    """One file of a publisher.

    file: its name in the cache, where the loaders look for it
    publisher, page: who offers it, and where a person reads about it or gets it by hand
    url: its address, or that of a zip archive that holds it; None where it is offered by hand only
    size: about how many bytes will come, where the publisher says so
    sha256: what is known of its digest beforehand, the leading hexadecimal digits
    """

    file: str
    publisher: str
    page: str
    url: str | None = None
    size: int | None = None
    sha256: str = ""

    @property
    def offered(self) -> str:
        """The name of what the publisher offers: that of the file itself, or of the archive it comes in."""
        name = unquote(urlsplit(self.url or "").path).rpartition("/")[2]
        return name if name.endswith(".zip") else self.file

    @property
    def packed(self) -> bool:
        return self.offered != self.file


Sources = Mapping[str, Source]

_COMPVIS = "https://github.com/CompVis/latent-diffusion"
_OMMER = "https://ommer-lab.com/files/latent-diffusion"
_SD15 = "https://huggingface.co/stable-diffusion-v1-5/stable-diffusion-v1-5"
_MIB = 2**20

SOURCES: Sources = {
    # published: latent-diffusion, README "Model Zoo" and scripts/download_models.sh
    "prior=ldm_ffhq": Source("model.ckpt", "CompVis", _COMPVIS, f"{_OMMER}/ffhq.zip"),
    "prior=ldm_celeba": Source("model.ckpt", "CompVis", _COMPVIS, f"{_OMMER}/celeba.zip"),
    "prior=ldm_imagenet": Source("model.ckpt", "CompVis", _COMPVIS, f"{_OMMER}/nitro/cin/model.ckpt"),
    # published: the model's page, which may ask to accept its terms (CreativeML Open RAIL-M) before it gives the file;
    # the repository is the one that diffusers' documentation names
    "prior=sd15": Source(
        "v1-5-pruned-emaonly.safetensors",
        "Stability AI and Runway, on Hugging Face",
        _SD15,
        f"{_SD15}/resolve/main/v1-5-pruned-emaonly.safetensors",
        size=4_270_000_000,
    ),
    # published: diffusion-posterior-sampling, README "Download pretrained checkpoint": a folder of Google Drive
    "prior=adm_ffhq": Source(
        "ffhq_10m.pt",
        "the authors of DPS, on Google Drive",
        "https://drive.google.com/drive/folders/1jElnRoFv7b31fG0v6pTSQkelbSX3xGZh"
        " (linked from https://github.com/DPS2022/diffusion-posterior-sampling)",
    ),
    # published: guided-diffusion, README "Download pre-trained models"
    "prior=adm_imagenet": Source(
        "256x256_diffusion_uncond.pt",
        "OpenAI",
        "https://github.com/openai/guided-diffusion",
        "https://openaipublic.blob.core.windows.net/diffusion/jul-2021/256x256_diffusion_uncond.pt",
    ),
    # installed: cleanfid/downloads_helper.py
    "metric=inception": Source(
        "inception-2015-12-05.pt",
        "NVIDIA",
        "https://github.com/GaParmar/clean-fid",
        "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/inception-2015-12-05.pt",
    ),
    # installed: torchvision/models/alexnet.py and vgg.py, sizes too; file names carry the digest's first digits
    "metric=lpips_alex": Source(
        "alexnet-owt-7be5be79.pth",
        "torchvision",
        "https://docs.pytorch.org/vision/stable/models/alexnet.html",
        "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
        size=round(233.087 * _MIB),
        sha256="7be5be79",
    ),
    "metric=lpips_vgg": Source(
        "vgg16-397923af.pth",
        "torchvision",
        "https://docs.pytorch.org/vision/stable/models/vgg.html",
        "https://download.pytorch.org/models/vgg16-397923af.pth",
        size=round(527.796 * _MIB),
        sha256="397923af",
    ),
    # published: BasicSR's repository at the version that LD-SMC's requirements name; LIVE's parameters of NIQE, whose
    # notice (University of Texas at Austin) goes with every copy
    "metric=niqe": Source(
        "niqe_pris_params.npz",
        "BasicSR",
        "https://github.com/XPixelGroup/BasicSR/blob/v1.4.2/basicsr/metrics/niqe_pris_params.npz",
        "https://raw.githubusercontent.com/XPixelGroup/BasicSR/v1.4.2/basicsr/metrics/niqe_pris_params.npz",
    ),
}

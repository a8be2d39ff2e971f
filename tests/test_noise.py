import torch

from ldsmc_bench.noise import Noise


def test_an_images_draws_do_not_depend_on_the_batch_or_its_order() -> None:
    together = Noise(0, ["a", "b", "c"], "s")
    apart = {i: Noise(0, [i], "s") for i in ("c", "a")}
    for _ in range(2):  # successive calls go on in each image's own stream
        draws = together.normal("z", (4, 5))
        assert torch.equal(draws[0], apart["a"].normal("z", (4, 5))[0])
        assert torch.equal(draws[2], apart["c"].normal("z", (4, 5))[0])


def test_seed_stream_name_and_image_each_change_the_draws() -> None:
    def first(seed: int, image: str, stream: str, name: str) -> float:
        return Noise(seed, [image], stream).normal(name, (1,)).item()

    draws = {
        first(*words)
        for words in [
            (0, "a", "s", "n"),
            (1, "a", "s", "n"),
            (0, "b", "s", "n"),
            (0, "a", "t", "n"),
            (0, "a", "s", "m"),
        ]
    }
    assert len(draws) == 5


def test_names_are_independent_of_each_others_use() -> None:
    used, fresh = Noise(0, ["a"], "s"), Noise(0, ["a"], "s")
    used.normal("other", (100,))
    assert torch.equal(used.normal("z", (3,)), fresh.normal("z", (3,)))


def test_normal_draws_are_standard() -> None:
    draws = Noise(0, [str(i) for i in range(50)], "s").normal("z", (2000,))
    assert abs(draws.mean()) < 5 / 100000**0.5
    assert abs(draws.var() - 1) < 5 * (2 / 100000) ** 0.5
    assert abs(torch.corrcoef(draws[:2])[0, 1]) < 5 / 2000**0.5


def test_masks_generator_starts_afresh_at_every_call() -> None:
    noise = Noise(0, ["a", "b"], "s")
    assert [g.random() for g in noise.numpy("mask")] == [g.random() for g in noise.numpy("mask")]
    assert noise.numpy("mask")[0].random() != noise.numpy("mask")[1].random()


def test_poisson_draws_have_the_means_given_and_follow_the_image() -> None:
    rates = torch.tensor([0.0, 0.3, 40.0], dtype=torch.float64).reshape(1, 3, 1).expand(2, 3, 20000)
    noise = Noise(0, ["a", "b"], "s")
    draws = noise.poisson("n", rates)
    assert draws.dtype == torch.float64 and torch.equal(draws, draws.round())
    assert (draws[:, 0] == 0).all()
    assert torch.allclose(draws[:, 1:].mean(-1), rates[:, 1:, 0], rtol=0.05)
    assert torch.allclose(draws[:, 1:].var(-1), rates[:, 1:, 0], rtol=0.05)
    assert torch.equal(Noise(0, ["b"], "s").poisson("n", rates[:1])[0], draws[1])
    assert not torch.equal(draws[0], draws[1]) and not torch.equal(noise.poisson("n", rates), draws)

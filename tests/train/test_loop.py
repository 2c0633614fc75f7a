"""The training loop: it learns, it is repeatable, and a crash at any epoch does not show in the result."""

import numpy as np
import pytest
import torch

from hwnas.datasets import ImageSet
from hwnas.errors import UserError
from hwnas.nn import Compute
from hwnas.storage import Journal
from hwnas.train import Recipe, Training, accuracy, load_checkpoint

CPU = Compute("cpu", channels_last=True)
RESOLUTION = 8


def images_of(count=96, seed=0):
    """Two classes that differ in which half of the image is bright."""
    rng = np.random.default_rng(seed)
    images, labels = rng.integers(0, 90, (count, 3, RESOLUTION, RESOLUTION), dtype=np.uint8), np.arange(count) % 2
    images[labels == 1, :, : RESOLUTION // 2] += 120
    images[labels == 0, :, RESOLUTION // 2 :] += 120
    return ImageSet(images, labels.astype(np.int64))


def training_of(folder, epochs=4, options=None, **recipe):
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 6, 3, 2, 1),
        torch.nn.BatchNorm2d(6),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.Linear(96, 2),
    )
    recipe = Recipe(epochs=epochs, batch_size=16, flip=False, **recipe)
    return Training(
        net, images_of(), RESOLUTION, recipe, CPU, 3, folder / "w.pt", folder / "w.jsonl", **(options or {})
    )


def losses(training):
    return [record["loss"] for record in training.history()]


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_it_learns(tmp_path, optimizer):
    training = training_of(tmp_path, epochs=8, optimizer=optimizer, lr=0.1 if optimizer == "sgd" else 0.05)
    training.run()
    assert losses(training)[-1] < losses(training)[0]
    assert accuracy(training.module, images_of(seed=1), RESOLUTION, CPU) > 0.9


def test_a_crash_after_any_epoch_does_not_show(tmp_path):
    whole = training_of(tmp_path / "whole")
    whole.run()
    for crash in (1, 2, 3):
        folder = tmp_path / f"part{crash}"

        def stop(epoch, record, crash=crash):
            if epoch == crash:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            training_of(folder).run(on_epoch=stop)
        part = training_of(folder)
        part.run()
        assert losses(part) == losses(whole)
        for mine, theirs in zip(part.module.state_dict().values(), whole.module.state_dict().values(), strict=True):
            torch.testing.assert_close(mine, theirs, rtol=0, atol=0)


def test_a_crash_between_journal_and_checkpoint_does_not_show(tmp_path):
    whole, part = training_of(tmp_path / "whole"), training_of(tmp_path / "part")
    whole.run()
    save = part._save
    part._save = lambda: save() if part.epoch < 3 else (_ for _ in ()).throw(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        part.run()
    assert len(Journal(tmp_path / "part" / "w.jsonl").records) == 3
    assert load_checkpoint(tmp_path / "part" / "w.pt")["epochs"] == 2
    again = training_of(tmp_path / "part")
    again.run()
    assert losses(again) == losses(whole)


def test_the_seed_decides(tmp_path):
    first, second = training_of(tmp_path / "a", epochs=1), training_of(tmp_path / "b", epochs=1)
    second.seed = 4
    first.run()
    second.run()
    assert losses(first) != losses(second)


def test_a_diverging_training_says_what_to_lower(tmp_path):
    with pytest.raises(UserError, match="lower the learning rate"):
        training_of(tmp_path, lr=float("1e30")).run()


def test_a_damaged_checkpoint_is_named(tmp_path):
    (tmp_path / "w.pt").write_bytes(b"no checkpoint")
    with pytest.raises(UserError, match=r"w\.pt is damaged"):
        training_of(tmp_path).run()


def test_modules_that_did_not_run_do_not_move(tmp_path):
    torch.manual_seed(0)
    idle, busy = torch.nn.Linear(192, 2), torch.nn.Linear(192, 2)
    net = torch.nn.ModuleList([idle, busy])
    before = [p.clone() for p in idle.parameters()]
    recipe = Recipe(epochs=2, batch_size=16, ema_decay=0.0, weight_decay=0.1, flip=False)

    def losses_of(images, labels, loss, step):
        yield loss(busy(images.flatten(1)), labels)

    files = tmp_path / "w.pt", tmp_path / "j"
    training = Training(net, images_of(), RESOLUTION, recipe, CPU, 0, *files, losses=losses_of)
    training.run()
    for old, new in zip(before, idle.parameters(), strict=True):
        torch.testing.assert_close(old, new, rtol=0, atol=0)

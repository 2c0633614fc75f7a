"""Models that a user might bring; `--model brought_models.py:plain` names the first one."""

import torch
from torch import nn


class Bessel(nn.Module):
    """Of an operator that no runtime has."""

    def forward(self, x):
        return x + torch.special.bessel_j0(x.mean(1, keepdim=True))


class Branch(nn.Module):
    """What it computes depends on what comes."""

    def forward(self, x):
        return x if x.sum() > 0 else -x


class Particular(nn.Module):
    """Takes images of one size alone, as vision transformers do."""

    def forward(self, x):
        assert x.shape[2] == 224, "Wrong image height!"


def around(layer):
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))
    return nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), layer, *head)


def plain():
    return around(nn.MaxPool2d(3, 2, 1))  # the converter pads it with minus infinity, which int8 has not


def depthwise():
    return around(nn.Conv2d(8, 8, 3, groups=8))


def divided():
    return around(nn.AvgPool2d(2, divisor_override=3))  # a window that is summed up, of which int8 has none


def particular():
    return Particular()


def bessel():
    return around(Bessel())


def branch():
    return around(Branch())


def raises():
    raise RuntimeError("over\ntwo lines")


def nothing():
    return None

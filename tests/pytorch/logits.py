"""Logits of an exported model in PyTorch: logits.py MODEL WEIGHTS IMAGES OUTPUT

IMAGES are float32 of shape (N, 32, 32, 3); OUTPUT gets float32 of shape (N, 10). The networks are written down here from
the papers, with the names that the published implementations give their parts.
"""

import sys

import numpy
import torch
from torch import nn
from torch.nn import functional as F


def conv(before, after, size, stride):
    return nn.Conv2d(before, after, size, stride, padding=size // 2, bias=False)


def stage(block, before, after, blocks, stride):
    return nn.Sequential(*[block(before if i == 0 else after, after, stride if i == 0 else 1) for i in range(blocks)])


class WideBlock(nn.Module):
    def __init__(self, before, after, stride):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(before), conv(before, after, 3, stride)
        self.bn2, self.conv2 = nn.BatchNorm2d(after), conv(after, after, 3, 1)
        self.convShortcut = conv(before, after, 1, stride) if before != after else None

    def forward(self, x):
        o = F.relu(self.bn1(x))
        y = self.conv2(F.relu(self.bn2(self.conv1(o))))
        return y + (self.convShortcut(o) if self.convShortcut else x)


class WideStage(nn.Module):
    def __init__(self, *shape):
        super().__init__()
        self.layer = stage(WideBlock, *shape)

    def forward(self, x):
        return self.layer(x)


class WideResNet(nn.Module):
    def __init__(self, depth, width):
        super().__init__()
        blocks = (depth - 4) // 6
        self.conv1 = conv(3, 16, 3, 1)
        self.block1 = WideStage(16, 16 * width, blocks, 1)
        self.block2 = WideStage(16 * width, 32 * width, blocks, 2)
        self.block3 = WideStage(32 * width, 64 * width, blocks, 2)
        self.bn1, self.fc = nn.BatchNorm2d(64 * width), nn.Linear(64 * width, 10)

    def forward(self, x):
        x = self.block3(self.block2(self.block1(self.conv1(x))))
        return self.fc(F.relu(self.bn1(x)).mean((2, 3)))


class Block(nn.Module):
    def __init__(self, before, after, stride):
        super().__init__()
        self.conv1, self.bn1 = conv(before, after, 3, stride), nn.BatchNorm2d(after)
        self.conv2, self.bn2 = conv(after, after, 3, 1), nn.BatchNorm2d(after)
        same = stride == 1 and before == after
        self.downsample = None if same else nn.Sequential(conv(before, after, 1, stride), nn.BatchNorm2d(after))

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + (self.downsample(x) if self.downsample else x))


class ResNet(nn.Module):
    def __init__(self, depth):
        super().__init__()
        blocks = (depth - 2) // 6
        self.conv1, self.bn1 = conv(3, 16, 3, 1), nn.BatchNorm2d(16)
        self.layer1 = stage(Block, 16, 16, blocks, 1)
        self.layer2 = stage(Block, 16, 32, blocks, 2)
        self.layer3 = stage(Block, 32, 64, blocks, 2)
        self.fc = nn.Linear(64, 10)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        return self.fc(self.layer3(self.layer2(self.layer1(x))).mean((2, 3)))


class PreActBlock(nn.Module):
    def __init__(self, before, after, stride):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(before), conv(before, after, 3, stride)
        self.bn2, self.conv2 = nn.BatchNorm2d(after), conv(after, after, 3, 1)
        same = stride == 1 and before == after
        self.shortcut = None if same else nn.Sequential(conv(before, after, 1, stride))

    def forward(self, x):
        o = F.relu(self.bn1(x))
        y = self.conv2(F.relu(self.bn2(self.conv1(o))))
        return y + (self.shortcut(o) if self.shortcut else x)


class PreActResNet18(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = conv(3, 64, 3, 1)
        self.layer1 = stage(PreActBlock, 64, 64, 2, 1)
        self.layer2 = stage(PreActBlock, 64, 128, 2, 2)
        self.layer3 = stage(PreActBlock, 128, 256, 2, 2)
        self.layer4 = stage(PreActBlock, 256, 512, 2, 2)
        self.linear = nn.Linear(512, 10)

    def forward(self, x):
        x = self.layer4(self.layer3(self.layer2(self.layer1(self.conv1(x)))))
        return self.linear(x.mean((2, 3)))


def network(name):
    if name == "preactresnet18":
        return PreActResNet18()
    if name == "resnet32-cifar":
        return ResNet(32)
    depth, width = name.removeprefix("wrn-").split("-")
    return WideResNet(int(depth), int(width))


def state_dict(path):
    if path.endswith(".safetensors"):
        from safetensors.torch import load_file

        return load_file(path)
    return torch.load(path, weights_only=True)


name, weights, images, output = sys.argv[1:]
model = network(name).eval()
model.load_state_dict(state_dict(weights), strict=True)
images = torch.from_numpy(numpy.fromfile(images, "<f4").reshape(-1, 32, 32, 3)).permute(0, 3, 1, 2)
with torch.no_grad():
    model(images).numpy().astype("<f4").tofile(output)

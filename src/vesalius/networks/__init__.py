"""Networks by name, 2-D and 3-D: one architecture family a module, mostly adapters over torchvision, timm and MONAI.

>>> build("small-cnn", channels=1, n_out=2, size=(28, 28))(__import__("torch").zeros(3, 1, 28, 28)).shape
torch.Size([3, 2])
"""

from vesalius.networks._base import NETWORKS, Network, NetworkInfo
from vesalius.networks._build import build, candidates, describe, names

__all__ = ["NETWORKS", "Network", "NetworkInfo", "build", "candidates", "describe", "names"]

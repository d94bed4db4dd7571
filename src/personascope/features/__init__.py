"""The third job: what sparse-autoencoder features say about a persona."""

from personascope.features.decompose import Decomposition, decompose
from personascope.features.explain import Explanation, explain
from personascope.features.find import find_features
from personascope.features.found import Found
from personascope.features.load import load_sae
from personascope.features.mine import mine_features
from personascope.features.mined import Mined
from personascope.features.mined_file import load_mined
from personascope.features.sae import SAE
from personascope.features.steering import FeatureDose, steer_features

__all__ = [
    "SAE",
    "Decomposition",
    "Explanation",
    "FeatureDose",
    "Found",
    "Mined",
    "decompose",
    "explain",
    "find_features",
    "load_mined",
    "load_sae",
    "mine_features",
    "steer_features",
]

"""Fixtures shared by all tests."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
import torch
from hypothesis import settings
from zoo import CONFIGS, tiny_subject

import personascope as ps
from personascope.subject import Subject

settings.register_profile("personascope", deadline=None, derandomize=True)
settings.load_profile("personascope")
if "PYTEST_XDIST_WORKER" in os.environ:
    # Workers share the cores: threads of one would only wait for those of the other.
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"
torch.backends.cuda.matmul.allow_tf32 = False
torch.backends.cudnn.allow_tf32 = False


@pytest.fixture(scope="session", params=list(CONFIGS))
def zoo_subject(request: pytest.FixtureRequest) -> Subject:
    """Every architecture of the zoo, one after the other."""
    return tiny_subject(request.param)


@pytest.fixture(scope="session")
def subject() -> Subject:
    """One small model, for laws that no architecture changes."""
    return tiny_subject("llama")


@pytest.fixture(scope="session")
def llama() -> Subject:
    """The shipped organism of the Llama architecture."""
    return ps.load("organism:llama")


@pytest.fixture(scope="session")
def gemma2() -> Subject:
    """The shipped organism of the Gemma-2 architecture."""
    return ps.load("organism:gemma2")

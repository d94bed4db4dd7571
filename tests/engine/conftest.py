"""The laws of the engine are held with every product had the fast way, which small weights else are not."""

from collections.abc import Iterator

import pytest

from personascope.engine import products


@pytest.fixture(autouse=True, scope="package")
def every_product_is_large() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(products, "_LEAST_WEIGHTS", 0)
        yield

"""Mined features in the shape in which Neuronpedia keeps them."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from personascope.directions.direction import TokenLens
from personascope.features.contexts import Context
from personascope.features.mined import Mined
from personascope.features.tally import edges


def neuronpedia_records(
    mined: Mined, lenses: Mapping[int, TokenLens] | None = None, labels: Mapping[int, str] | None = None
) -> list[dict[str, Any]]:
    """A record per feature, its field names those of Neuronpedia's feature export.

    lenses: by feature the tokens it promotes and suppresses. labels: by feature an explanation.
    """
    records = []
    for column, feature in enumerate(mined.features):
        filled = np.flatnonzero(mined.tally.histogram[column])
        bounds = edges()
        lens = (lenses or {}).get(feature, TokenLens((), ()))
        label = (labels or {}).get(feature)
        records.append(
            {
                "modelId": mined.model,
                "layer": f"{mined.layer}-{mined.sae}",
                "index": str(feature),
                "sourceSetName": mined.sae,
                "frac_nonzero": float(mined.tally.rate[column]),
                "maxActApprox": max(mined.scores[feature], default=0.0),
                "freq_hist_data_bar_values": ((bounds[filled] * bounds[filled + 1]) ** 0.5).tolist(),
                "freq_hist_data_bar_heights": mined.tally.histogram[column, filled].tolist(),
                "pos_str": [token for token, _ in lens.promoted],
                "pos_values": [effect for _, effect in lens.promoted],
                "neg_str": [token for token, _ in lens.suppressed],
                "neg_values": [effect for _, effect in lens.suppressed],
                "explanations": [{"description": label}] if label else [],
                "activations": [_activation(mined, one) for one in mined.contexts[feature]],
            }
        )
    return records


def _activation(mined: Mined, one: Context) -> dict[str, Any]:
    values = one.activations.astype(float)
    return {
        "tokens": mined.pieces(one.ids),
        "values": values.tolist(),
        "maxValue": float(values.max()),
        "maxValueTokenIndex": int(values.argmax()),
        "minValue": float(values.min()),
        "dataSource": one.document,
        "dataIndex": str(one.position),
    }

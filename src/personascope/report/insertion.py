"""Saving what question insertion found: JSON, the signatures as directions, and the page."""

from collections.abc import Sequence
from pathlib import Path

from personascope.directions import DirectionSet
from personascope.persistence.inserting import Inserted
from personascope.persistence.signature_doses import SignatureDose
from personascope.report.page import write_report
from personascope.runs import RunFolder, write_json
from personascope.runs.files import file_name


def save_insertion(folder: RunFolder, found: Inserted, doses: Sequence[SignatureDose] = ()) -> Path:
    """Write `insertion.json`, `directions/` and `report.html` into a run folder; the path of the page.

    A signature is saved at the length of its lift, so that α = 1 is what the role brought; of several arms the others
    stand beside the first under names of their own.
    """
    plain = {**found.describe(), "doses": [one.describe() for one in doses]}
    write_json(folder.path / "insertion.json", plain, indent=None)
    for part in found.parts:
        if part.role in found.plan.roles:
            name = part.role if part.arm == found.plan.arms[0] else f"{part.role} {part.arm}"
            vector = part.found.signature.vector * part.found.lift
            provenance = {"method": "question insertion", "control": found.control, "transcripts": part.arm}
            one = DirectionSet(name, (found.plan.layer,), vector[None], provenance=provenance)
            one.save(folder.path / "directions" / f"{file_name(name)}.safetensors")
    return write_report([folder.path], folder.path / "report.html")

"""Loading an SAE from a file, a folder or the Hugging Face hub."""

import os
from dataclasses import replace
from pathlib import Path, PurePosixPath

from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)

from personascope.errors import UserError
from personascope.features.formats import dictionary_learning, gemma_scope
from personascope.features.formats.asked import Asked
from personascope.features.formats.known import Format, format_of, looked_for
from personascope.features.places import Place, choose, places_of
from personascope.features.sae import SAE
from personascope.organisms.package import organism_folder

# How many of its folders name an SAE.
_NAMED_BY = 3
_ORGANISM = "organism:"
# What the HTTP client of the hub's library raises where there is no answer; which client that is differs by version.
_HttpError: type[Exception] = HfHubHTTPError.__bases__[0]


def load_sae(
    source: str | Path,
    layer: int | None = None,
    trainer: int | None = None,
    *,
    revision: str | None = None,
    threshold: float | None = None,
    scale: float | None = None,
) -> SAE:
    """A sparse autoencoder of the residual stream, whatever tool it was trained with.

    source: `organism:llama` or `organism:gemma2` for the one that ships with it, a file of weights, a folder with one SAE
    or with many in folders of their own, or a Hugging Face repository `owner/name`, `owner/name/folder/in/it` or
    `owner/name:folder/in/it`, of which only the files needed are fetched.
    Formats: dictionary_learning, SAELens, Gemma Scope, Llama Scope, sparsify. layer: the block whose output it reads; it
    chooses among several, must agree with what the files say, and is taken as it is where they say nothing. trainer: of
    folders `trainer_0`, `trainer_1` …. revision: of the repository. threshold: for a BatchTopK SAE whose training ended
    before it set one. scale: the factor on the inputs, for a SAELens one that lost it.
    Raises `UserError` where there is no such SAE, where several fit, and on files that are damaged, of another kind, or of
    another place than the residual stream.
    """
    if not isinstance(source, str | os.PathLike):
        raise UserError(f"{source!r:.60} is no SAE; give organism:llama, a file, a folder or a Hugging Face repository")
    if layer is not None and layer < 0:
        raise UserError(f"layer={layer} is not a layer; they count from 0")
    if str(source).startswith(_ORGANISM):
        found = load_sae(_shipped(str(source)), layer, trainer, threshold=threshold, scale=scale)
        return replace(found, name=str(source))
    # Not resolved: in the hub's cache, files are links to others without a name.
    path = Path(os.path.abspath(Path(source).expanduser()))
    if path.is_file():
        return _read_file(path, layer, threshold, scale)
    if path.is_dir():
        place = choose(_local_places(path), str(source), layer, trainer)
        return place.format.read(path / place.file, _asked(path / place.home, layer, threshold, scale))
    repository, folder = _repository(str(source))
    root, names = _listed(repository, revision)
    inside = PurePosixPath(folder)
    places = [place for place in places_of(names) if inside in (place.home, *place.home.parents)]
    place = choose(places, str(source), layer, trainer)
    file = _fetched(repository, place, names, revision) if root is None else root / place.file
    name = "/".join([repository, *place.home.parts])
    return place.format.read(file, Asked(name, layer, threshold, scale))


def _shipped(source: str) -> Path:
    """Where an organism's own SAE lies."""
    folder = organism_folder(source.removeprefix(_ORGANISM)) / "sae"
    if not folder.is_dir():
        name = source.removeprefix(_ORGANISM)
        raise UserError(f"{source} has no SAE here; `personascope organisms sae {name} --out {folder}` makes it")
    return folder


def _read_file(path: Path, layer: int | None, threshold: float | None, scale: float | None) -> SAE:
    """A file of weights by its name; a `.pt` or `.npz` file of any name is taken for what these endings mostly are."""
    known = format_of(PurePosixPath(path.as_posix()))
    readers = {".pt": dictionary_learning.read, ".npz": gemma_scope.read}
    read = known[0].read if known else readers.get(path.suffix)
    if read is None:
        raise UserError(f"{path} is no SAE by its name; it would be {looked_for()}")
    return read(path, _asked(path.parent, layer, threshold, scale))


def _asked(home: Path, layer: int | None, threshold: float | None, scale: float | None) -> Asked:
    return Asked("/".join(home.parts[1:][-_NAMED_BY:]), layer, threshold, scale)


def _local_places(root: Path) -> list[Place]:
    files = (Path(folder, name) for folder, _, names in os.walk(root) for name in names)
    return places_of(file.relative_to(root).as_posix() for file in files)


def _repository(source: str) -> tuple[str, str]:
    """`owner/name` and the folder in it."""
    named, _, folder = source.partition(":")
    parts = named.strip("/").split("/")
    if source.startswith((".", "/", "~")) or "\\" in source or len(parts) < 2 or not all(parts):
        raise UserError(
            f"{source!r} is neither a file or folder that is here nor a Hugging Face repository such as "
            "google/gemma-scope-2b-pt-res"
        )
    return "/".join(parts[:2]), "/".join([*parts[2:], *([folder.strip("/")] if folder else [])])


def _listed(repository: str, revision: str | None) -> tuple[Path | None, list[str]]:
    """The names of a repository's files; where the hub cannot be reached, of those in the cache, with their folder."""
    try:
        return None, HfApi().list_repo_files(repository, revision=revision)
    except (GatedRepoError, RepositoryNotFoundError, HFValidationError) as error:
        raise UserError(_unreachable(repository, error)) from error
    except (_HttpError, OSError) as error:
        try:
            root = Path(snapshot_download(repository, revision=revision, local_files_only=True))
        except (LocalEntryNotFoundError, OSError, ValueError):
            raise UserError(_unreachable(repository, error)) from error
        return root, [file.relative_to(root).as_posix() for file in root.rglob("*") if file.is_file()]


def _fetched(repository: str, place: Place, names: list[str], revision: str | None) -> Path:
    """The file with the weights in the cache, its settings beside it as in the repository."""
    wanted = [name for name in _settings(place.home, place.format) if name in names]
    try:
        for name in wanted:
            hf_hub_download(repository, name, revision=revision)
        return Path(hf_hub_download(repository, str(place.file), revision=revision))
    except (_HttpError, OSError) as error:
        raise UserError(_unreachable(repository, error)) from error


def _settings(home: PurePosixPath, known: Format) -> list[str]:
    return [str(home.parent / name[3:] if name.startswith("../") else home / name) for name in known.beside]


def _unreachable(repository: str, error: Exception) -> str:
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    if isinstance(error, GatedRepoError):
        return f"{repository} is gated; ask for access on its page and log in with `hf auth login`"
    return (
        f"no SAE was found at {repository!r}: give a file, a folder, or a Hugging Face repository that can be reached from "
        f"here ({first})"
    )

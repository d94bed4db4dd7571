"""Hugging Face datasets as corpora, streamed and never downloaded whole."""

from collections.abc import Iterator
from typing import Any

from personascope.corpora.documents import Corpus, Document, as_documents, record_content, without_text
from personascope.errors import UserError

PREFIX = "hf:"
_BUFFER = 10_000


def stream_dataset(source: str, column: str | None = None, seed: int = 0) -> Corpus:
    """`hf:NAME`, `hf:NAME:SPLIT` or `hf:NAME:CONFIG:SPLIT`: a dataset of the hub, or a local folder of one, shuffled with
    a seed through a buffer of 10,000 records.

    Raises `UserError` where the `datasets` library is missing, the dataset cannot be opened, or has no text.
    """
    try:
        from datasets import load_dataset
    except ImportError as error:
        raise UserError("Hugging Face datasets need one more library: pip install datasets") from error
    name, config, split = _parts(source.removeprefix(PREFIX))
    try:
        stream = load_dataset(name, config, split=split, streaming=True)
    except Exception as error:
        # The library raises its own, the hub's and the file formats' errors here.
        raise UserError(f"the dataset {name!r} cannot be opened: {str(error).splitlines()[0]}") from error
    shuffled = stream.shuffle(seed=seed, buffer_size=_BUFFER)

    def records(corpus: Corpus) -> Iterator[tuple[str, Any]]:
        for number, record in enumerate(shuffled):
            content = record_content(record, column)
            if content is None:
                corpus.leave_out(without_text(column))
            else:
                yield f"{name}:{number}", content

    def read(corpus: Corpus) -> Iterator[Document]:
        found = False
        for document in as_documents(corpus, records(corpus)):
            found = True
            yield document
        if not found:
            raise UserError(f"the dataset {name!r} holds no text; name its field with --column")

    revision = getattr(getattr(stream, "info", None), "version", None)
    return Corpus(f"{PREFIX}{name}", f"{name} {config} {split} {seed} {revision}", read)


def _parts(source: str) -> tuple[str, str | None, str]:
    """Name, config and split of `NAME[[:CONFIG]:SPLIT]`."""
    parts: list[Any] = source.split(":")
    if not parts[0] or len(parts) > 3:
        raise UserError(f"{PREFIX}{source} is no dataset; write hf:NAME, hf:NAME:SPLIT or hf:NAME:CONFIG:SPLIT")
    if len(parts) == 1:
        return parts[0], None, "train"
    return (parts[0], None, parts[1]) if len(parts) == 2 else (parts[0], parts[1], parts[2])

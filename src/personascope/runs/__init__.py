"""Runs on disk: folders anybody can copy and read without Personascope."""

from personascope.runs.files import write_json, write_table, write_text
from personascope.runs.folder import Config, RunFolder
from personascope.runs.journal import Journal, cell_key
from personascope.runs.shards import Shards

__all__ = ["Config", "Journal", "RunFolder", "Shards", "cell_key", "write_json", "write_table", "write_text"]

"""mkdocs hook: pages made from the code join those written by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

from slatebench.benchmark.docs_pages import generated_pages


def on_files(files: Files, config: Any) -> Files:
    """Add the generated pages; where there is a page of that path it becomes their first part."""
    for path, content in generated_pages(Path(config.docs_dir)).items():
        there = files.get_file_from_path(path)
        if there is not None:
            files.remove(there)
        files.append(File.generated(config, path, content=content))
    return files

"""YAML that users write: read safely, and so that no mistake in it goes unseen."""

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from hwnas.errors import UserError


class _UniqueKeys(yaml.SafeLoader):
    """Refuses a key that stands twice in one mapping: the second would take the place of the first unseen."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set[str]()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key.value!r} came twice", key.start_mark)
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


def read_yaml(path: Path, what: str) -> object:
    """What the file holds. UserError that names it as `what`, and where in it the mistake is."""
    try:
        return _UniqueKeys(path.read_text(encoding="utf-8")).get_single_data()
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"{what} {path} is not valid YAML: {' '.join(str(error).split())}") from None

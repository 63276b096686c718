"""MongoDB indexes of current versions.

See docs/decisions on the form of the index.
"""

from pymongo import IndexModel


def index_models(type_: str) -> list[IndexModel]:
    """Return the search indexes of a type's collection."""
    return []

"""Patient/$merge and Patient/$undo-merge: https://build.fhir.org/patient-operation-merge.html, docs/merge.md."""

from fhir_server.operations.merge.merging import merge
from fhir_server.operations.merge.undoing import undo_merge

__all__ = ["merge", "undo_merge"]

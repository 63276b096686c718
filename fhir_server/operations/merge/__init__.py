"""Patient/$merge and Patient/$undo-merge: https://build.fhir.org/patient-operation-merge.html, docs/merge.md."""

from fhir_server.operations.merge.merging import merge

__all__ = ["merge"]

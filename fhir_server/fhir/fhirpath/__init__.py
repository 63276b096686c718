"""FHIRPath in general, for invariants and patches: https://hl7.org/fhir/R4/fhirpath.html.

fhirpathpy gives the grammar and the operators on simple values. Navigation is our own, over nodes that know their
place, their type and both halves of a primitive (`birthDate` and `_birthDate`), with a budget of steps. The
expressions of search parameters do not come this way: see `fhir_server.fhir.path`.
"""

from fhir_server.fhir.fhirpath.evaluate import evaluate, holds, locate
from fhir_server.fhir.fhirpath.nodes import Node, root
from fhir_server.fhir.fhirpath.parse import SAFE_FUNCTIONS, Expression, FhirPathError, compile_expression
from fhir_server.fhir.fhirpath.run import Budget

__all__ = [
    "SAFE_FUNCTIONS",
    "Budget",
    "Expression",
    "FhirPathError",
    "Node",
    "compile_expression",
    "evaluate",
    "holds",
    "locate",
    "root",
]

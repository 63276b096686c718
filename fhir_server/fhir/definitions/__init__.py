"""What the R4 specification defines: types, search parameters, compartments, operations, codes.

https://hl7.org/fhir/R4/profiling.html, https://hl7.org/fhir/R4/searchparameter-registry.html,
https://hl7.org/fhir/R4/compartmentdefinition.html, https://hl7.org/fhir/R4/operations.html

The tables beside this file are made by `tools/build_definitions.py` from the official package `hl7.fhir.r4.core`
4.0.1. Each is read when it is first asked for, and a `Type` is built when it is first looked up.
"""

from fhir_server.fhir.definitions.artifacts import (
    OperationDefinition,
    OperationParameter,
    SearchParameterDefinition,
    compartments,
    operation_definitions,
    search_parameters,
)
from fhir_server.fhir.definitions.terminology import code_system_concepts, value_set_codes
from fhir_server.fhir.definitions.types import (
    RESOURCE_TYPES,
    TYPES,
    Element,
    Invariant,
    Type,
    mandatory_elements,
    summary_elements,
    type_of,
)

__all__ = [
    "RESOURCE_TYPES",
    "TYPES",
    "Element",
    "Invariant",
    "OperationDefinition",
    "OperationParameter",
    "SearchParameterDefinition",
    "Type",
    "code_system_concepts",
    "compartments",
    "mandatory_elements",
    "operation_definitions",
    "search_parameters",
    "summary_elements",
    "type_of",
    "value_set_codes",
]

"""What FHIR R4 says, as pure functions: no input or output happens in this package."""

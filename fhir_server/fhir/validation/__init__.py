"""The validator, compiled from the definition tables: https://hl7.org/fhir/R4/validation.html."""

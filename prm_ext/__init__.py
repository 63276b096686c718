"""What a patient-relationship-management product needs on top of the FHIR server."""

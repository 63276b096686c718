"""The flat fields of a patient, each with the element of the FHIR Patient that it is."""

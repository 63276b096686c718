"""Who is asking, and what they may do: https://hl7.org/fhir/smart-app-launch/STU2.2/ and docs/security/."""

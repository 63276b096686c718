"""A realistic population to try the server with: clinics, people, their care and the messages to them."""

from fhir_server.demo.population import DEFAULT_TODAY, population, resources_of

__all__ = ["DEFAULT_TODAY", "population", "resources_of"]

"""The HTTP face of the authorization server: the protocol's endpoints, and the pages that people see."""

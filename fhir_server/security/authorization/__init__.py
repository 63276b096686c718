"""The authorization server that comes with this one: OAuth 2.0, OpenID Connect and SMART App Launch.

https://www.rfc-editor.org/rfc/rfc6749, https://www.rfc-editor.org/rfc/rfc9700,
https://openid.net/specs/openid-connect-core-1_0.html, https://hl7.org/fhir/smart-app-launch/STU2.2/

`service.Service` is all that it keeps, `server.Server` answers the protocol's endpoints, `service.BuiltinIssuer` is what a
resource server in the same process asks. The pages are in `fhir_server.web.smart`.
"""

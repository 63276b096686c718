"""Settings: `FHIR_…` environment variables or a `.env` file, described one by one in docs/settings.md."""

from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, TypeAdapter, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

MergeRule = Literal["target", "source", "fill", "union", "newest"]
MergeElement = Literal[
    "*",
    "address",
    "birthDate",
    "communication",
    "contact",
    "deceased",
    "extension",
    "gender",
    "generalPractitioner",
    "identifier",
    "managingOrganization",
    "maritalStatus",
    "multipleBirth",
    "name",
    "photo",
    "telecom",
    "text",
]


PER_TENANT = frozenset(
    {
        "duplicates",
        "invalid_contacts",
        "mrn",
        "mrn_check_digit",
        "mrn_digits",
        "mrn_on_update",
        "mrn_prefix",
        "mrn_start",
        "mrn_system",
        "phone_region",
    }
)
"""Settings that `per_tenant` may give other values."""


def _rules(value: Any) -> Any:
    """Return the pairs of an object: settings have to be hashable."""
    pairs = tuple(value.items()) if isinstance(value, dict) else value
    if isinstance(value, dict) and value.get("identifier", "union") not in ("union", "target"):
        raise ValueError("the rule for `identifier` is `union` or `target`: a patient's own identifiers are never lost")
    return pairs


class Settings(BaseSettings):
    """All that an operator may set. The description of a field is its documentation."""

    model_config = SettingsConfigDict(env_prefix="FHIR_", env_file=".env", extra="ignore", frozen=True)

    # Where it listens
    host: str = Field("127.0.0.1", description="Address to listen on. Without configured auth only loopback is allowed.")
    allow_unauthenticated: bool = Field(
        False,
        description="Listen on other addresses than loopback although no auth is configured. Only where something in front of the server authenticates.",
    )
    port: int = Field(8080, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    workers: int = Field(1, ge=1, le=64, description="Number of server processes.")
    base_url: str = Field(
        "",
        description="Public base URL of the FHIR service, such as `https://ehr.example.org/fhir`. Empty: taken from the request.",
    )
    trusted_proxies: str = Field(
        "", description="Comma-separated addresses of proxies whose `X-Forwarded-*` headers are believed."
    )
    cors_origins: str = Field("", description="Comma-separated origins that browsers may call from; `*` allows every one.")

    # Who is asking
    auth: Literal["off", "builtin"] = Field(
        "off",
        description="`builtin`: requests need a token, and this server has its own authorization server for users, SMART apps and backend services. `off`: no token is asked for.",
    )
    auth_issuer: str = Field(
        "",
        description="Public URL of the built-in authorization server, such as `https://ehr.example.org`. Empty: the base URL without its `/fhir`.",
    )
    auth_access_seconds: int = Field(
        600, ge=30, le=3600, description="Lifetime of access tokens that the built-in authorization server issues, in seconds."
    )
    auth_refresh_days: int = Field(
        90, ge=1, le=3650, description="A refresh token of `offline_access` that is not used for so many days expires."
    )
    auth_session_minutes: int = Field(
        480, ge=5, le=10_080, description="How long a person stays logged in at the built-in authorization server, in minutes."
    )
    auth_registration: Literal["off", "token", "open"] = Field(
        "off",
        description="Dynamic client registration: to nobody, to those who send `auth_registration_token` as a bearer token, or to everyone.",
    )
    auth_registration_token: str = Field("", repr=False, description="The initial access token for dynamic client registration.")
    auth_private_jwks: bool = Field(
        False,
        description="Fetch the keys of clients also from private and loopback addresses and by plain http. For development and closed networks only.",
    )

    auth_issuers: str = Field(
        "",
        description="Comma-separated OpenID Connect issuers whose access tokens (JWT) are accepted, such as `https://id.example.org/realms/a`; `issuer|jwks-url` where one publishes no discovery document.",
    )
    auth_audience: str = Field(
        "",
        description="Comma-separated audiences, one of which a token has to be for. Empty: `base_url`, which then has to be set.",
    )
    auth_algorithms: str = Field(
        "RS256,RS384,RS512,PS256,PS384,PS512,ES256,ES384,ES512,EdDSA",
        description="Comma-separated algorithms by which tokens may be signed; only asymmetric ones are possible.",
    )
    auth_leeway_seconds: int = Field(
        30, ge=0, le=300, description="How far clocks may differ when `exp`, `nbf` and `iat` of a token are judged, in seconds."
    )
    auth_cache_seconds: int = Field(
        30,
        ge=0,
        le=300,
        description="How long a verified token is not verified again, in seconds: so late a revocation is noticed.",
    )
    auth_tenant_claim: str = Field("org_id", description="Claim of a token that names the tenant.")
    auth_roles_claim: str = Field(
        "roles", description="Claim of a token that lists roles; a path such as `realm_access.roles` leads into objects."
    )
    auth_default_role: str = Field(
        "", description="Role of people whose token names none. Empty: `user/` scopes then give them nothing."
    )
    auth_roles_without_scopes: bool = Field(
        False, description="Tokens with roles but without SMART scopes may do what the roles allow. Only for clients of your own."
    )
    auth_introspection_url: str = Field(
        "", description="Introspection endpoint (RFC 7662) for tokens that are no JWT of a configured issuer."
    )
    auth_introspection_client: str = Field(
        "", description="Client id by which this server authenticates at the introspection endpoint."
    )
    auth_introspection_secret: str = Field("", repr=False, description="Secret of that client.")
    auth_mtls_header: str = Field(
        "",
        description="Header in which a trusted proxy (`trusted_proxies`) names the subject of a verified client certificate; `clients` of the policy says what it may do. The proxy has to remove it from what clients send.",
    )
    policy_dir: Path | None = Field(
        None,
        description="Directory of policies, `<tenant>.yaml` and `default.yaml`. Empty: the policy that comes with the server.",
    )

    # Where data is
    mongodb_uri: str = Field(
        "", repr=False, description="MongoDB replica set or sharded cluster. Empty: an embedded mongod is started on `data_dir`."
    )
    mongodb_database: str = Field("fhir", description="Name of the database.")
    data_dir: Path = Field(Path("data"), description="Directory of the embedded MongoDB.")
    mongodb_cache_mb: int = Field(512, ge=256, description="Cache size of the embedded MongoDB, in MB.")
    mongodb_timeout_ms: int = Field(
        5000,
        ge=100,
        description="How long one step of a request waits for an absent MongoDB, in milliseconds; after two at most it answers 503.",
    )
    mongodb_pool_size: int = Field(50, ge=1, description="Largest number of connections to MongoDB of one process.")
    json_cache_mb: int = Field(
        32, ge=0, description="Memory of one process for the JSON of resources that were read lately, in MB; 0: none is kept."
    )
    default_tenant: str = Field(
        "default", pattern=r"^[A-Za-z0-9_-]{1,64}$", description="Tenant of requests whose token names none."
    )

    # Audit trail
    audit: Literal["auto", "off", "writes", "all"] = Field(
        "auto",
        description="What the audit trail keeps: nothing, changes and refusals, or every access. `auto`: `all` where requests have to say who sends them, else `off`.",
    )
    audit_days: int = Field(
        2557,
        ge=1,
        description="How long the audit trail is kept at least, in days, before `fhir-server audit prune` removes a month of it (2557: seven years).",
    )

    # Rules of the REST interface
    require_if_match: bool = Field(False, description="Refuse updates, patches and deletes that carry no `If-Match` (428).")
    update_create: bool = Field(True, description="Allow PUT to create a resource under an id that the client chose.")
    multiple_delete: bool = Field(False, description="Allow a conditional delete to delete several matches.")
    multiple_delete_max: int = Field(100, ge=1, description="Largest number of resources that one conditional delete may delete.")
    reference_check: bool = Field(False, description="Refuse (422) writes with references to local resources that do not exist.")
    delete_check: bool = Field(False, description="Refuse (409) deletion of resources that others refer to.")
    merged_references: Literal["reroute", "refuse"] = Field(
        "reroute",
        description="What becomes of a write that refers to a patient who has been merged into another: the reference is made one to the survivor, or the write is refused (422).",
    )
    merge_max: int = Field(
        1000,
        ge=1,
        le=5000,
        description="Largest number of resources that `$merge` and `$undo-merge` change in one transaction, while the client waits; above it they want `Prefer: respond-async` (412).",
    )
    merge_rules: Annotated[tuple[tuple[MergeElement, MergeRule], ...], BeforeValidator(_rules)] = Field(
        (),
        description='Whose value the merged patient has, by element, as JSON such as `{"telecom": "union", "*": "fill"}`: `target`, `source`, `fill` (the source\'s where the target has none), `union`, `newest`. `*` is every other element. Without a rule: `identifier` is `union`, all else `target` (docs/merge.md).',
    )
    validate_invariants: bool = Field(
        False, description="Check the FHIRPath invariants of the base specification at every write too, not only in `$validate`."
    )
    default_return: Literal["minimal", "representation", "OperationOutcome"] = Field(
        "representation", description="What a write answers when the client states no `Prefer: return`."
    )
    validation_status: Annotated[Literal[400, 422], BeforeValidator(int)] = Field(
        400, description="Status for a body that is not a valid resource."
    )

    # Limits
    rate_limit: int = Field(
        0,
        ge=0,
        description="How many requests a minute a client may send (429 above it): an app with its user, or an address where nobody is asked for a token. 0: no limit. Counted in Valkey where there is one.",
    )
    rate_bad_tokens: int = Field(
        120,
        ge=1,
        description="How many requests with a bad token, or none, an address may send in a minute; above it, tokens that are not known yet are refused unread (429).",
    )
    max_body_bytes: int = Field(16_000_000, ge=1000, description="Largest request body, in bytes (413 above it).")
    max_depth: int = Field(64, ge=8, le=150, description="Deepest nesting of JSON or XML.")
    max_bundle_entries: int = Field(10_000, ge=1, description="Largest number of entries in a batch or transaction.")
    max_url_bytes: int = Field(32_768, ge=1024, description="Longest request target, in bytes (414 above it).")
    default_count: int = Field(50, ge=1, description="Page size when the client states no `_count`.")
    max_count: int = Field(1000, ge=1, description="Largest page size.")
    max_includes: int = Field(1000, ge=1, description="Largest number of included resources on one page.")
    max_search_values: int = Field(1000, ge=1, description="Largest number of comma-separated values of one search parameter.")
    max_search_params: int = Field(100, ge=1, description="Largest number of parameters of one search.")
    max_chain_ids: int = Field(
        100_000,
        ge=1000,
        description="Largest number of resources in the middle of a chained search whose ids are listed at once.",
    )
    max_chain_depth: int = Field(6, ge=1, description="Largest number of links in a chained search parameter.")
    search_timeout_ms: int = Field(15_000, ge=100, description="How long one search may run in MongoDB, in milliseconds.")
    count_timeout_ms: int = Field(
        20, ge=1, description="How long an exact total may be counted when none was asked for, in milliseconds."
    )
    transaction_retries: int = Field(20, ge=0, description="How often a transaction that lost a write conflict is tried again.")

    # Patients
    mrn: bool = Field(True, description="Give a medical record number to each patient that is created without one.")
    mrn_on_update: bool = Field(
        False,
        description="Do so too where PUT creates a patient under an id of the client. Off, since such a record is a copy of another system's.",
    )
    mrn_system: str = Field(
        "urn:prm:mrn:{tenant}",
        min_length=1,
        description="System of the identifiers that hold medical record numbers; `{tenant}` stands for the tenant. Set it to a URL of your organisation before there are patients.",
    )
    mrn_prefix: str = Field(
        "MRN-{year}", description="What stands before the digits of a medical record number; `{year}` is the year in UTC."
    )
    mrn_digits: int = Field(6, ge=1, le=18, description="Least number of digits after the prefix, check digit not counted.")
    mrn_check_digit: bool = Field(False, description="End medical record numbers with a check digit (Luhn, over all digits).")
    mrn_start: int = Field(1, ge=0, description="First number after each new prefix.")
    phone_region: str = Field(
        "US", pattern="^[A-Z]{2}$", description="Country (ISO 3166) of phone numbers that are written without a country code."
    )
    invalid_contacts: Literal["refuse", "warn"] = Field(
        "refuse",
        description="What to do with a patient's phone numbers and email addresses that can not be right: refuse the patient (422), or keep them as they are and warn.",
    )
    duplicates: Literal["off", "warn", "reject"] = Field(
        "off",
        description="What to do when a patient that is created is probably there already: nothing; say so and make a Task for a person to decide; or refuse it (409).",
    )
    match_models: Path | None = Field(
        None,
        description="JSON file of matching models: what tenants, or `default`, change of the model in docs/matching.md. Empty: nothing.",
    )
    per_tenant: str = Field(
        "",
        description='Other values of settings of this section for single tenants, as JSON: `{"acme": {"mrn_prefix": "A-"}}`.',
    )

    # Protected identifiers
    protected_identifiers: str = Field(
        "http://hl7.org/fhir/sid/us-ssn",
        description="Comma-separated systems of identifiers that are encrypted in the database and shown to few. Run `fhir-server keys apply` after a change.",
    )
    master_key: str = Field(
        "",
        repr=False,
        description="Key that wraps the keys of tenants: 32 bytes in base64, as `fhir-server keys new` makes it. Keep it outside of the database and its backups.",
    )
    master_keys_previous: str = Field(
        "", repr=False, description="Comma-separated master keys of before, until `fhir-server keys rewrap` has run."
    )
    master_key_file: Path | None = Field(
        None,
        description="File that holds the master key, and below it those of before, instead of these settings. With the embedded MongoDB: `master.key` in `data_dir`, made at the first start.",
    )
    key_service: str = Field(
        "",
        description="Key management service that wraps the keys of tenants instead of a master key: `module:function`, which is called with the settings and returns a `fhir_server.store.master.KeyService`.",
    )

    # Binary data and media
    blob_store: Literal["gridfs", "s3"] = Field(
        "gridfs",
        description="Where binary data is: in MongoDB (encrypted with the key of the tenant), or in an S3-compatible store.",
    )
    s3_endpoint: str = Field("", description="URL of the S3-compatible store. Empty: AWS.")
    s3_public_endpoint: str = Field("", description="URL under which clients reach that store, for signed URLs. Empty: the same.")
    s3_region: str = Field("us-east-1", description="Region of the bucket.")
    s3_bucket: str = Field("", description="Name of the bucket, which has to exist and to be private.")
    s3_access_key: str = Field("", description="Access key. Empty: what the environment or the machine provides for AWS.")
    s3_secret_key: str = Field("", repr=False, description="Secret of the access key.")
    s3_encryption: Literal["", "AES256", "aws:kms"] = Field(
        "AES256",
        description="Encryption that is asked of the store for each object (SSE-S3 or SSE-KMS). Empty: that of the bucket.",
    )
    s3_kms_key: str = Field("", description="Key for `aws:kms`. Empty: that of the bucket.")
    s3_timeout_seconds: int = Field(30, ge=1, le=600, description="How long one answer of the store is waited for, in seconds.")
    upload_max_bytes: int = Field(5_000_000_000, ge=1000, description="Largest upload of binary data, in bytes (413 above it).")
    upload_spool_mb: int = Field(
        256,
        ge=8,
        le=65_536,
        description="Uploads to S3 up to this size, in MB, wait in an unnamed file of the temporary directory until they are known to be harmless; larger ones in the store, which then has to copy them.",
    )
    upload_hours: int = Field(24, ge=1, le=720, description="How long an upload in parts may take, in hours; then it is removed.")
    attachment_bytes: int = Field(
        65_536,
        ge=1024,
        description="Attachments with more data than this, in bytes, are kept beside the resource they are part of.",
    )
    inline_max_bytes: int = Field(
        33_554_432, ge=1024, description="Largest amount of binary data that is put into one FHIR resource on reading, in bytes."
    )
    inline_default_bytes: int = Field(
        1_048_576,
        ge=0,
        description="Up to so much binary data of one resource, in bytes, stands in it when it is read or written, without being asked for by `_inline=true`.",
    )
    blob_url_seconds: int = Field(
        600, ge=1, description="How long a signed URL is good when the client asks for no time, in seconds."
    )
    blob_url_max_seconds: int = Field(3600, ge=1, description="Longest time that a signed URL may be good for, in seconds.")
    blob_retention_days: int = Field(
        30, ge=0, description="How long bytes are kept when no current resource refers to them any more, in days."
    )
    blob_grace_minutes: int = Field(
        1440, ge=1, description="How long bytes are kept that were received but that nothing refers to, in minutes."
    )
    media_kinds: str = Field(
        "image,pdf,audio,video,office,dicom,text,cda",
        description="Comma-separated kinds of content that are taken: image, pdf, audio, video, office, dicom, text, cda, data (JSON, XML, YAML), archive, html, svg.",
    )
    media_limits: str = Field(
        "", description='Size limits by kind in bytes, as JSON such as `{"image": 20000000, "audio": 50000000}`.'
    )
    media_active: Literal["flag", "refuse"] = Field(
        "flag", description="What to do with image bombs and with PDFs that hold JavaScript or launch programs."
    )
    media_strip_location: bool = Field(
        False, description="Remove where a picture was taken from the metadata of JPEG, PNG, WebP and TIFF images."
    )
    inspect_seconds: int = Field(15, ge=1, le=300, description="How long a file may be looked into, in seconds.")
    inspect_memory_mb: int = Field(768, ge=128, description="Memory that looking into a file may take, in MB.")
    clamd: str = Field(
        "",
        description="ClamAV daemon that uploads are scanned by: `host:port`, or the path of its socket. Empty: nothing is scanned.",
    )
    clamd_seconds: int = Field(60, ge=1, le=3600, description="How long a scan may take, in seconds.")
    clamd_absent: Literal["refuse", "later"] = Field(
        "refuse",
        description="What to do with uploads while the ClamAV daemon does not answer: refuse them (503), or keep them, unserved, and scan them later.",
    )

    # Extensions and events
    extensions: str = Field(
        "prm_ext.patients,prm_ext.media,prm_ext.notifications",
        description="Comma-separated modules of extensions that are loaded.",
    )
    events: bool = Field(True, description="Tell what happens as events, by a process beside those that answer requests.")
    worker: bool = Field(
        True,
        description="Let `serve` also run a worker for queued work, such as the sending of notifications. Off where `fhir-server worker` does that.",
    )
    heartbeat_file: Path | None = Field(
        None,
        description="File that `fhir-server worker` and `dispatcher` touch every five seconds while they live, for health checks of containers.",
    )
    worker_threads: int = Field(16, ge=1, le=256, description="How many pieces of queued work one worker does at once.")
    redis_url: str = Field(
        "",
        repr=False,
        description="Redis or Valkey that events are published to and work is queued in. Empty: an embedded Valkey is started on `data_dir`.",
    )
    events_stream: str = Field("fhir:events", min_length=1, description="Name of the Redis stream of events.")
    events_kept: int = Field(100_000, ge=1, description="About how many events the Redis stream keeps.")
    events_resource: bool = Field(
        False, description="Put the resource into each event. Without it events hold ids only, and no health data."
    )
    events_lease_seconds: float = Field(
        15.0,
        ge=1,
        le=300,
        description="For how many seconds a process keeps, without prolonging it, what one process of all does: telling events, and work such as bulk sends. So long after one was killed another goes on.",
    )
    webhook_urls: str = Field("", description="Comma-separated URLs that each event is posted to, as a CloudEvent.")
    webhook_secret: str = Field(
        "",
        repr=False,
        description="Secret by which webhooks are signed (HMAC-SHA256): `whsec_` and base64, or any text. They need one.",
    )

    webhook_private: bool = Field(
        False,
        description="Post events also to addresses that are not public, such as those of the own network and of this machine.",
    )

    # Logs
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least severe level that is logged.")
    log_format: Literal["json", "console"] = Field("json", description="Log lines for machines or for people.")
    log_requests: bool = Field(True, description="Log one line for each request.")

    @field_validator("per_tenant")
    @classmethod
    def _check_tenants(cls, given: str) -> str:
        _of_tenants(given)
        return given

    def of(self, tenant: str) -> "Settings":
        """Return the settings as they are for a tenant."""
        given = _of_tenants(self.per_tenant).get(tenant) if self.per_tenant else None
        return self.model_copy(update=given) if given else self

    @model_validator(mode="after")
    def _check_audience(self) -> Self:
        """Tokens of others have to be for this server: without an audience every token of an issuer would be good."""
        if (self.auth_issuers or self.auth_introspection_url) and not (self.auth_audience or self.base_url):
            raise ValueError("FHIR_AUTH_AUDIENCE or FHIR_BASE_URL has to be set, so that tokens for others are refused")
        if self.auth_mtls_header and not self.trusted_proxies:
            raise ValueError("FHIR_TRUSTED_PROXIES has to name the proxies whose FHIR_AUTH_MTLS_HEADER is believed")
        return self

    @property
    def audit_kept(self) -> Literal["off", "writes", "all"]:
        """What the audit trail keeps."""
        if self.audit != "auto":
            return self.audit
        return "all" if self.asks_for_tokens else "off"

    @property
    def asks_for_tokens(self) -> bool:
        """Whether requests have to say who sends them."""
        return bool(self.auth != "off" or self.auth_issuers or self.auth_introspection_url or self.auth_mtls_header)


@cache
def _of_tenants(text: str) -> dict[str, dict[str, Any]]:
    """Return what `per_tenant` says, by tenant and setting."""
    if not text:
        return {}
    given = TypeAdapter(dict[str, dict[str, Any]]).validate_json(text)
    return {tenant: {name: _checked(name, value) for name, value in values.items()} for tenant, values in given.items()}


def _checked(name: str, value: Any) -> Any:
    if name not in PER_TENANT:
        raise ValueError(f"{name!r} is not a setting of single tenants; these are: {', '.join(sorted(PER_TENANT))}")
    field = Settings.model_fields[name]
    kind: Any = Annotated[field.annotation, field]
    return TypeAdapter(kind).validate_python(value)

"""The policy file: docs/security/policy.md."""

import pytest
from authz_server import default_settings

from fhir_server.doctor import examine_policies
from fhir_server.fhir.definitions import RESOURCE_TYPES
from fhir_server.security.policies import Policies
from fhir_server.security.policy import PolicyError, built_in, members, path_of, read

SMALL = "version: 1\nroles:\n  nurse: {rules: [{types: [Patient], allow: rs}]}\n"


def test_the_policy_that_comes_with_the_server_has_the_roles_of_a_clinic():
    assert set(built_in().roles) == {"admin", "clinician", "front_desk", "billing", "auditor", "read_only", "patient"}


@pytest.mark.parametrize("role", ["clinician", "front_desk", "billing", "auditor", "read_only", "patient"])
def test_only_administrators_change_the_trail_of_audit(role):
    rules = built_in().roles[role].rules
    assert not any(rule.covers("AuditEvent") and set(rule.allow) & set("cud") for rule in rules)


def test_the_front_desk_sees_no_clinical_data():
    rules = built_in().roles["front_desk"].rules
    covered = {type_ for type_ in RESOURCE_TYPES if any(rule.covers(type_) for rule in rules)}
    assert covered.isdisjoint(
        {"Observation", "Condition", "Procedure", "MedicationRequest", "DiagnosticReport", "DocumentReference"}
    )


def test_letters_may_be_written_as_words():
    text = "version: 1\nroles:\n  a: {rules: [{types: ['*'], allow: [search, read]}]}\n"
    assert read(text).roles["a"].rules[0].allow == "rs"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("- a", "a policy is a mapping"),
        ("version: 1\nroles: {a: [", "line 2: not YAML"),
        ("roles: {}", "version: Field required"),
        ("version: 2\nroles: {}", "version: Input should be 1"),
        (
            "version: 1\nroles: {a: {rules: [{types: [Pat], allow: r}]}}",
            "roles.a.rules.0.types.0: 'Pat' is no resource type of R4",
        ),
        ("version: 1\nroles: {a: {rules: [{types: [Patient], allow: x}]}}", "roles.a.rules.0.allow: 'x' is neither"),
        ("version: 1\nroles: {a: {rules: [{types: [Patient], allow: [see]}]}}", "'see' is none of create, read"),
        ("version: 1\nroles: {a: {rules: [{types: [Patient], allow: r, where: x}]}}", "'x' is not of the form parameter=value"),
        ("version: 1\nroles: {a: {rules: [{types: [Patient], alow: r}]}}", "roles.a.rules.0.allow: Field required"),
        ("version: 1\nroles: {a: {hide: {Patient: [shoes]}}}", "hide: Patient.shoes is no element that can be hidden"),
        ("version: 1\nroles: {a: {hide: {Patient: [meta]}}}", "hide: Patient.meta is no element that can be hidden"),
        ("version: 1\nroles: {a: {hide: {'*': [name]}}}", "hide: name a resource type, not '*'"),
        ("version: 1\nroles: {a: {labels: [N]}}", "roles.a.labels.0: Input should be 'R' or 'V'"),
        ("version: 1\nroles: {}\nclients: {c: {roles: [a]}}", "clients: c has the role 'a', which is not among the roles"),
        ("version: 1\nroles: {}\nclients: {c: {scopes: openid}}", "clients.c.scopes: 'openid' is no SMART scope about resources"),
    ],
)
def test_mistakes_are_named_with_their_place(text, problem):
    with pytest.raises(PolicyError) as refused:
        read(text, "x.yaml")
    assert problem in str(refused.value)
    assert str(refused.value).startswith("x.yaml")


def test_a_choice_of_types_is_hidden_by_its_name_without_the_type():
    assert {"valueQuantity", "valueString"} <= members("Observation", "value")


def test_a_tenant_has_its_own_file_or_the_default_one_or_that_of_the_server(tmp_path):
    assert path_of(None, "a") is None
    assert path_of(tmp_path, "a") is None
    (tmp_path / "default.yaml").write_text(SMALL)
    assert path_of(tmp_path, "a") == tmp_path / "default.yaml"
    (tmp_path / "a.yaml").write_text(SMALL)
    assert path_of(tmp_path, "a") == tmp_path / "a.yaml"
    assert path_of(tmp_path, "b") == tmp_path / "default.yaml"


def test_a_changed_policy_is_in_force_two_seconds_later_and_a_broken_one_is_not(tmp_path):
    moment = [0.0]
    policies = Policies(tmp_path, lambda: moment[0])
    (tmp_path / "a.yaml").write_text(SMALL)
    first = policies.of("a")
    (tmp_path / "a.yaml").write_text(SMALL.replace("nurse", "doctor"))
    assert policies.of("a") is first
    moment[0] = 2.5
    assert set(policies.of("a").roles) == {"doctor"}
    (tmp_path / "a.yaml").write_text("roles: nonsense, and longer than before to be seen as another file")
    moment[0] = 5.0
    assert set(policies.of("a").roles) == {"doctor"}


def test_a_policy_that_never_could_be_used_lets_nobody_in(tmp_path):
    (tmp_path / "a.yaml").write_text("nonsense")
    with pytest.raises(PolicyError):
        Policies(tmp_path).of("a")


def test_doctor_names_what_is_wrong_with_each_policy(tmp_path):
    (tmp_path / "a.yaml").write_text(SMALL)
    (tmp_path / "b.yaml").write_text("version: 1\nroles: {n: {rules: [{types: [Patient], allow: r, where: shoes=1}]}}")
    (tmp_path / "c.yaml").write_text("nonsense")
    found = {one.subject: one for one in examine_policies(default_settings("t", "", policy_dir=tmp_path))}
    assert [one.ok for one in found.values()] == [True, False, False]
    assert "roles.n.rules.0.where: Patient has no search parameter 'shoes'" in found["Policy b.yaml"].found
    assert "a policy is a mapping" in found["Policy c.yaml"].found


def test_doctor_says_when_the_directory_of_policies_is_none(tmp_path):
    found = list(examine_policies(default_settings("t", "", policy_dir=tmp_path / "none")))
    assert [one.ok for one in found] == [False]


def test_without_a_directory_of_policies_there_is_nothing_to_look_at():
    assert list(examine_policies(default_settings("t", ""))) == []

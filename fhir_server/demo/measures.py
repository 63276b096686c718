"""What is measured at a visit: vital signs, laboratory panels with their reports, smoking status."""

from collections.abc import Iterator
from decimal import Decimal

from fhir_server.demo.build import LOINC, SNOMED, THO, Element, Resource, coding, concept, decimal_between, quantity, reference
from fhir_server.demo.codes import PANELS, LabTest
from fhir_server.demo.person import ADULT, Person
from fhir_server.demo.visits import Visit

_VITAL_SIGNS = [concept(THO + "observation-category", "vital-signs", "Vital Signs")]
_LABORATORY = [concept(THO + "observation-category", "laboratory", "Laboratory")]
_SOCIAL_HISTORY = [concept(THO + "observation-category", "social-history", "Social History")]
_SMOKING = (
    ("266919005", "Never smoked tobacco", 60),
    ("8517006", "Ex-smoker", 25),
    ("449868002", "Smokes tobacco daily", 15),
)


def measures_of(person: Person, visit: Visit) -> Iterator[Resource]:
    """Return the observations of a visit, and the reports over its laboratory results."""
    if visit.encounter["class"]["code"] == "AMB":
        yield from _vital_signs(person, visit)
    panel = visit.problem.disease.panel if visit.problem else "lipids" if person.age > 40 else ""
    if panel:
        yield from _laboratory(person, visit, panel)
    if visit.number == 0 and person.age >= ADULT:
        yield _smoking(person, visit)


def _observation(person: Person, visit: Visit, key: str, category: list[Element], code: Element) -> Resource:
    return {
        "resourceType": "Observation",
        "id": person.new_id("observation", visit.number, key),
        "status": "final",
        "category": category,
        "code": code,
        "subject": person.reference,
        "encounter": visit.reference,
        "effectiveDateTime": visit.minutes_in(5),
        "issued": visit.minutes_in(6),
        "performer": [visit.staff.reference],
    }


def _vital_signs(person: Person, visit: Visit) -> Iterator[Resource]:
    rng = person.rng
    if person.age >= 3:
        yield _blood_pressure(person, visit)
    low, high = (60, 96) if person.age >= ADULT else (75, 130)
    yield _vital(person, visit, "hr", ("8867-4", "Heart rate"), quantity(rng.randint(low, high), "beats/minute", "/min"))
    weight, height = _body(person)
    yield _vital(person, visit, "weight", ("29463-7", "Body weight"), quantity(weight, "kg"))
    if visit.number == 0:
        yield _vital(person, visit, "height", ("8302-2", "Body height"), quantity(height, "cm"))
        if person.age >= ADULT:
            index = (weight / (height / 100) ** 2).quantize(Decimal("0.1"))
            yield _vital(person, visit, "bmi", ("39156-5", "Body mass index (BMI) [Ratio]"), quantity(index, "kg/m2"))
    if visit.problem and not visit.problem.disease.chronic:
        fever = quantity(decimal_between(rng, 36.4, 39.4), "Cel")
        yield _vital(person, visit, "temperature", ("8310-5", "Body temperature"), fever)
        saturation = quantity(rng.randint(93, 100), "%")
        yield _vital(person, visit, "spo2", ("2708-6", "Oxygen saturation in Arterial blood"), saturation)


def _body(person: Person) -> tuple[Decimal, Decimal]:
    """Return weight and height that suit the age."""
    rng = person.rng
    if person.age >= ADULT:
        return decimal_between(rng, 48, 118), decimal_between(rng, 150, 195)
    height = 52 + 6.6 * person.age
    return decimal_between(rng, 3.4 + 2.6 * person.age, 5 + 3.6 * person.age), decimal_between(rng, height - 6, height + 8)


def _vital(person: Person, visit: Visit, key: str, code: tuple[str, str], value: Element) -> Resource:
    vital = _observation(person, visit, key, _VITAL_SIGNS, concept(LOINC, *code))
    vital["valueQuantity"] = value
    return vital


def _blood_pressure(person: Person, visit: Visit) -> Resource:
    rng = person.rng
    high = visit.problem is not None and visit.problem.disease.icd10 == "I10"
    systolic = rng.randint(132, 178) if high else rng.randint(95, 134)
    diastolic = round(systolic * rng.uniform(0.58, 0.66))
    panel = _observation(
        person, visit, "bp", _VITAL_SIGNS, concept(LOINC, "85354-9", "Blood pressure panel with all children optional")
    )
    panel["component"] = [
        {"code": concept(LOINC, code, display), "valueQuantity": quantity(value, "mmHg", "mm[Hg]")}
        for code, display, value in (
            ("8480-6", "Systolic blood pressure", systolic),
            ("8462-4", "Diastolic blood pressure", diastolic),
        )
    ]
    panel["bodySite"] = concept(SNOMED, "368209003", "Right upper arm structure")
    return panel


def _laboratory(person: Person, visit: Visit, panel: str) -> Iterator[Resource]:
    code, tests = PANELS[panel]
    results = [_result(person, visit, f"{panel}-{index}", test) for index, test in enumerate(tests)]
    yield from results
    abnormal = [result["code"]["text"] for result in results if result["interpretation"][0]["coding"][0]["code"] != "N"]
    yield {
        "resourceType": "DiagnosticReport",
        "id": person.new_id("report", visit.number),
        "status": "final",
        "category": [concept(THO + "v2-0074", "LAB", "Laboratory")],
        "code": concept(LOINC, *code),
        "subject": person.reference,
        "encounter": visit.reference,
        "effectiveDateTime": visit.minutes_in(25),
        "issued": visit.minutes_in(1500),
        "performer": [person.clinic.reference],
        "result": [reference(result, result["code"]["text"]) for result in results],
        "conclusion": "Outside the normal range: " + "; ".join(abnormal) + "."
        if abnormal
        else "All results are in the normal range.",
    }


def _result(person: Person, visit: Visit, key: str, test: LabTest) -> Resource:
    value = decimal_between(person.rng, test.low, test.high, test.digits)
    low, high = (Decimal(limit) for limit in test.normal)
    flag = ("L", "Low") if value < low else ("H", "High") if value > high else ("N", "Normal")
    result = _observation(person, visit, key, _LABORATORY, concept(LOINC, test.code, test.name))
    result["effectiveDateTime"] = visit.minutes_in(25)
    result["issued"] = visit.minutes_in(1440)
    result["valueQuantity"] = quantity(value, test.unit)
    result["interpretation"] = [{"coding": [coding(THO + "v3-ObservationInterpretation", *flag)]}]
    result["referenceRange"] = [{"low": quantity(low, test.unit), "high": quantity(high, test.unit)}]
    return result


def _smoking(person: Person, visit: Visit) -> Resource:
    code, display, _ = person.rng.choices(_SMOKING, [share for _, _, share in _SMOKING])[0]
    smoking = _observation(person, visit, "smoking", _SOCIAL_HISTORY, concept(LOINC, "72166-2", "Tobacco smoking status"))
    smoking["valueCodeableConcept"] = concept(SNOMED, code, display)
    return smoking

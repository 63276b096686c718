"""Clinical vocabulary of the demonstration: what people have, take, get measured and are given."""

from dataclasses import dataclass
from typing import Literal

Code = tuple[str, str]
"""A code and its display."""


@dataclass(frozen=True, slots=True)
class Medication:
    """An RxNorm drug and how it is taken."""

    code: str
    name: str
    form: str
    per_day: int
    instruction: str
    as_needed: bool = False


@dataclass(frozen=True, slots=True)
class Disease:
    """A diagnosis: SNOMED CT and ICD-10-CM codes, for whom (ages, share of them), and what follows from it."""

    snomed: Code
    icd10: str
    ages: tuple[int, int]
    share: float
    chronic: bool
    medications: tuple[Medication, ...] = ()
    panel: Literal["", "metabolic", "lipids", "blood", "sugar", "thyroid"] = ""
    goal: str = ""
    only: str = ""
    """A gender, when only people of that gender have it."""


LISINOPRIL = Medication("314076", "lisinopril 10 MG Oral Tablet", "tablet", 1, "Take one tablet in the morning")
AMLODIPINE = Medication("197361", "amlodipine 5 MG Oral Tablet", "tablet", 1, "Take one tablet at bedtime")
METFORMIN = Medication(
    "861007", "metformin hydrochloride 500 MG Oral Tablet", "tablet", 2, "Take one tablet with breakfast and dinner"
)
ATORVASTATIN = Medication("617318", "atorvastatin 20 MG Oral Tablet", "tablet", 1, "Take one tablet at bedtime")
ALBUTEROL = Medication(
    "745679", "albuterol 90 MCG/ACTUAT Metered Dose Inhaler", "puff", 4, "Inhale when short of breath", as_needed=True
)
LEVOTHYROXINE = Medication("966222", "levothyroxine sodium 0.075 MG Oral Tablet", "tablet", 1, "Take one tablet before breakfast")
SERTRALINE = Medication("312941", "sertraline 50 MG Oral Tablet", "tablet", 1, "Take one tablet in the morning")
OMEPRAZOLE = Medication(
    "198051", "omeprazole 20 MG Delayed Release Oral Capsule", "capsule", 1, "Take one capsule before breakfast"
)
IBUPROFEN = Medication(
    "197805", "ibuprofen 400 MG Oral Tablet", "tablet", 3, "Take one tablet with food for pain", as_needed=True
)
ACETAMINOPHEN = Medication(
    "313782", "acetaminophen 325 MG Oral Tablet", "tablet", 4, "Take one tablet for pain or fever", as_needed=True
)
AMOXICILLIN = Medication(
    "308191", "amoxicillin 500 MG Oral Capsule", "capsule", 3, "Take one capsule every eight hours for ten days"
)
COTRIMOXAZOLE = Medication(
    "198335",
    "sulfamethoxazole 800 MG / trimethoprim 160 MG Oral Tablet",
    "tablet",
    2,
    "Take one tablet twice a day for three days",
)
CETIRIZINE = Medication(
    "1014678", "cetirizine hydrochloride 10 MG Oral Tablet", "tablet", 1, "Take one tablet a day in the pollen season"
)
FERROUS_SULFATE = Medication("310325", "ferrous sulfate 325 MG Oral Tablet", "tablet", 1, "Take one tablet between meals")
WARFARIN = Medication("855332", "warfarin sodium 5 MG Oral Tablet", "tablet", 1, "Take one tablet in the evening")

DISEASES: tuple[Disease, ...] = (
    Disease(
        ("59621000", "Essential hypertension"),
        "I10",
        (35, 120),
        0.42,
        True,
        (LISINOPRIL, AMLODIPINE),
        "metabolic",
        "Blood pressure below 130/80 mmHg",
    ),
    Disease(
        ("44054006", "Diabetes mellitus type 2"),
        "E11.9",
        (30, 120),
        0.16,
        True,
        (METFORMIN,),
        "sugar",
        "Hemoglobin A1c below 7 %",
    ),
    Disease(
        ("55822004", "Hyperlipidemia"),
        "E78.5",
        (35, 120),
        0.3,
        True,
        (ATORVASTATIN,),
        "lipids",
        "LDL cholesterol below 100 mg/dL",
    ),
    Disease(("195967001", "Asthma"), "J45.909", (4, 120), 0.09, True, (ALBUTEROL,), "", "No night-time symptoms"),
    Disease(("40930008", "Hypothyroidism"), "E03.9", (20, 120), 0.08, True, (LEVOTHYROXINE,), "thyroid"),
    Disease(("370143000", "Major depressive disorder"), "F32.9", (16, 120), 0.12, True, (SERTRALINE,), "", "PHQ-9 score below 5"),
    Disease(("235595009", "Gastroesophageal reflux disease"), "K21.9", (25, 120), 0.15, True, (OMEPRAZOLE,)),
    Disease(
        ("396275006", "Osteoarthritis"), "M19.90", (50, 120), 0.25, True, (IBUPROFEN,), "", "Walk for 30 minutes five days a week"
    ),
    Disease(("37796009", "Migraine"), "G43.909", (12, 65), 0.1, True, (IBUPROFEN,)),
    Disease(("49436004", "Atrial fibrillation"), "I48.91", (60, 120), 0.09, True, (WARFARIN,), "metabolic"),
    Disease(
        ("433144002", "Chronic kidney disease stage 3"), "N18.30", (60, 120), 0.1, True, (), "metabolic", "Stable kidney function"
    ),
    Disease(("87522002", "Iron deficiency anemia"), "D50.9", (14, 60), 0.07, True, (FERROUS_SULFATE,), "blood", "", "female"),
    Disease(("414916001", "Obesity"), "E66.9", (10, 120), 0.2, True, (), "", "Lose 5 % of body weight in six months"),
    Disease(("61582004", "Allergic rhinitis"), "J30.9", (5, 80), 0.14, True, (CETIRIZINE,)),
    Disease(("54150009", "Upper respiratory infection"), "J06.9", (0, 120), 0.4, False, (ACETAMINOPHEN,)),
    Disease(("3110003", "Acute otitis media"), "H66.90", (0, 10), 0.35, False, (AMOXICILLIN,)),
    Disease(("10509002", "Acute bronchitis"), "J20.9", (10, 120), 0.15, False, (ACETAMINOPHEN,)),
    Disease(
        ("68566005", "Urinary tract infectious disease"), "N39.0", (16, 120), 0.14, False, (COTRIMOXAZOLE,), "", "", "female"
    ),
    Disease(("44465007", "Sprain of ankle"), "S93.409A", (6, 60), 0.08, False, (IBUPROFEN,)),
    Disease(("279039007", "Low back pain"), "M54.50", (20, 120), 0.18, False, (IBUPROFEN,)),
)


@dataclass(frozen=True, slots=True)
class LabTest:
    """A laboratory test: LOINC code, unit, where results lie and what is normal."""

    code: str
    name: str
    unit: str
    low: float
    high: float
    normal: tuple[str, str]
    digits: int = 0


PANELS: dict[str, tuple[Code, tuple[LabTest, ...]]] = {
    "metabolic": (
        ("51990-0", "Basic metabolic panel - Blood"),
        (
            LabTest("2339-0", "Glucose [Mass/volume] in Blood", "mg/dL", 72, 140, ("70", "99")),
            LabTest("2160-0", "Creatinine [Mass/volume] in Serum or Plasma", "mg/dL", 0.6, 1.8, ("0.60", "1.30"), 2),
            LabTest("2951-2", "Sodium [Moles/volume] in Serum or Plasma", "mmol/L", 134, 146, ("136", "145")),
            LabTest("2823-3", "Potassium [Moles/volume] in Serum or Plasma", "mmol/L", 3.4, 5.3, ("3.5", "5.1"), 1),
        ),
    ),
    "lipids": (
        ("57698-3", "Lipid panel with direct LDL - Serum or Plasma"),
        (
            LabTest("2093-3", "Cholesterol [Mass/volume] in Serum or Plasma", "mg/dL", 140, 280, ("0", "199")),
            LabTest("2571-8", "Triglyceride [Mass/volume] in Serum or Plasma", "mg/dL", 60, 260, ("0", "149")),
            LabTest(
                "18262-6", "Cholesterol in LDL [Mass/volume] in Serum or Plasma by Direct assay", "mg/dL", 70, 190, ("0", "99")
            ),
            LabTest("2085-9", "Cholesterol in HDL [Mass/volume] in Serum or Plasma", "mg/dL", 32, 80, ("40", "90")),
        ),
    ),
    "blood": (
        ("58410-2", "CBC panel - Blood by Automated count"),
        (
            LabTest("718-7", "Hemoglobin [Mass/volume] in Blood", "g/dL", 9.5, 16.5, ("12.0", "16.0"), 1),
            LabTest("6690-2", "Leukocytes [#/volume] in Blood by Automated count", "10*3/uL", 3.8, 12.0, ("4.5", "11.0"), 1),
            LabTest("777-3", "Platelets [#/volume] in Blood by Automated count", "10*3/uL", 130, 430, ("150", "400")),
        ),
    ),
    "sugar": (
        ("4548-4", "Hemoglobin A1c/Hemoglobin.total in Blood"),
        (
            LabTest("4548-4", "Hemoglobin A1c/Hemoglobin.total in Blood", "%", 5.4, 10.8, ("4.0", "5.6"), 1),
            LabTest("2339-0", "Glucose [Mass/volume] in Blood", "mg/dL", 80, 290, ("70", "99")),
        ),
    ),
    "thyroid": (
        ("3016-3", "Thyrotropin [Units/volume] in Serum or Plasma"),
        (LabTest("3016-3", "Thyrotropin [Units/volume] in Serum or Plasma", "m[IU]/L", 0.4, 8.5, ("0.40", "4.50"), 2),),
    ),
}

VACCINES = (
    ("140", "Influenza, seasonal, injectable, preservative free", 0, 120),
    ("213", "SARS-COV-2 (COVID-19) vaccine, UNSPECIFIED", 5, 120),
    ("115", "Tdap", 11, 120),
    ("187", "zoster recombinant", 50, 120),
    ("33", "pneumococcal polysaccharide PPV23", 65, 120),
    ("62", "HPV, quadrivalent", 11, 26),
    ("03", "MMR", 1, 12),
    ("20", "DTaP", 0, 6),
    ("10", "IPV", 0, 6),
    ("08", "Hep B, adolescent or pediatric", 0, 18),
    ("21", "varicella", 1, 12),
)
"""CVX code, display, and the ages at which it is given."""

ALLERGIES = (
    ("91936005", "Allergy to penicillin", "medication", "high", ("271807003", "Eruption of skin")),
    ("91935009", "Allergy to peanut", "food", "high", ("39579001", "Anaphylaxis")),
    ("300913006", "Allergy to shellfish", "food", "low", ("126485001", "Urticaria")),
    ("300916003", "Allergy to latex", "environment", "low", ("271807003", "Eruption of skin")),
    ("418689008", "Allergy to grass pollen", "environment", "low", ("76067001", "Sneezing")),
    ("232350006", "Allergy to house dust mite", "environment", "low", ("76067001", "Sneezing")),
)

PROCEDURES = (
    ("29303009", "Electrocardiographic procedure", 40),
    ("73761001", "Colonoscopy", 50),
    ("171207006", "Depression screening", 12),
    ("430193006", "Medication reconciliation", 40),
    ("225358003", "Wound care", 3),
    ("80146002", "Excision of appendix", 8),
)
"""SNOMED CT code, display, and the youngest age."""

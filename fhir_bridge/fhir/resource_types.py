"""The resource types of every release of FHIR, and which one was meant by a name that is none of them
(mapping, section 16)."""

from __future__ import annotations

from difflib import get_close_matches
from functools import lru_cache

from fhir_bridge.fhir.misspelt import folded
from fhir_bridge.fhir.views import VIEWS

_TYPES = """
    Account ActivityDefinition ActorDefinition AdministrableProductDefinition AdverseEvent
    AllergyIntolerance Appointment AppointmentResponse ArtifactAssessment AuditEvent Basic Binary
    BiologicallyDerivedProduct BiologicallyDerivedProductDispense BodySite BodyStructure Bundle
    CapabilityStatement CarePlan CareTeam CatalogEntry ChargeItem ChargeItemDefinition Citation Claim
    ClaimResponse ClinicalImpression ClinicalUseDefinition CodeSystem Communication CommunicationRequest
    CompartmentDefinition Composition ConceptMap Condition ConditionDefinition Conformance Consent
    Contract Coverage CoverageEligibilityRequest CoverageEligibilityResponse DataElement DetectedIssue
    Device DeviceAssociation DeviceComponent DeviceDefinition DeviceDispense DeviceMetric DeviceRequest
    DeviceUsage DeviceUseRequest DeviceUseStatement DiagnosticOrder DiagnosticReport DocumentManifest
    DocumentReference EffectEvidenceSynthesis EligibilityRequest EligibilityResponse Encounter
    EncounterHistory Endpoint EnrollmentRequest EnrollmentResponse EpisodeOfCare EventDefinition Evidence
    EvidenceReport EvidenceVariable ExampleScenario ExpansionProfile ExplanationOfBenefit
    FamilyMemberHistory Flag FormularyItem GenomicStudy Goal GraphDefinition Group GuidanceResponse
    HealthcareService ImagingManifest ImagingObjectSelection ImagingSelection ImagingStudy Immunization
    ImmunizationEvaluation ImmunizationRecommendation ImplementationGuide Ingredient InsurancePlan
    InventoryItem InventoryReport Invoice Library Linkage List Location ManufacturedItemDefinition
    Measure MeasureReport Media Medication MedicationAdministration MedicationDispense
    MedicationKnowledge MedicationOrder MedicationRequest MedicationStatement MedicinalProduct
    MedicinalProductAuthorization MedicinalProductContraindication MedicinalProductDefinition
    MedicinalProductIndication MedicinalProductIngredient MedicinalProductInteraction
    MedicinalProductManufactured MedicinalProductPackaged MedicinalProductPharmaceutical
    MedicinalProductUndesirableEffect MessageDefinition MessageHeader MolecularSequence NamingSystem
    NutritionIntake NutritionOrder NutritionProduct Observation ObservationDefinition OperationDefinition
    OperationOutcome Order OrderResponse Organization OrganizationAffiliation PackagedProductDefinition
    Parameters Patient PaymentNotice PaymentReconciliation Permission Person PlanDefinition Practitioner
    PractitionerRole Procedure ProcedureRequest ProcessRequest ProcessResponse Provenance Questionnaire
    QuestionnaireResponse ReferralRequest RegulatedAuthorization RelatedPerson RequestGroup
    RequestOrchestration Requirements ResearchDefinition ResearchElementDefinition ResearchStudy
    ResearchSubject RiskAssessment RiskEvidenceSynthesis Schedule SearchParameter Sequence
    ServiceDefinition ServiceRequest Slot Specimen SpecimenDefinition StructureDefinition StructureMap
    Subscription SubscriptionStatus SubscriptionTopic Substance SubstanceDefinition SubstanceNucleicAcid
    SubstancePolymer SubstanceProtein SubstanceReferenceInformation SubstanceSourceMaterial
    SubstanceSpecification SupplyDelivery SupplyRequest Task TerminologyCapabilities TestPlan TestReport
    TestScript Transport ValueSet VerificationResult VisionPrescription
"""
RESOURCE_TYPES = frozenset(_TYPES.split())
"""DSTU2 to R5 (https://hl7.org/fhir/R5/resourcelist.html, and the same page of the other releases)."""

_READ = frozenset({*VIEWS, "Bundle", "Parameters"})
_FOLDED = {folded(name): name for name in sorted(RESOURCE_TYPES | _READ)}
_NEAR = 0.8
"""How alike two names are at least: `Apointmnet` and Appointment, and no first word of two."""


def meant_type(name: str) -> str | None:
    """The type that the bridge reads and this name was probably meant for; None where it is a type, in
    whatever case, or most like one that nobody reads, or like none."""
    nearest, _ = type_told(name)
    return nearest if nearest != name and nearest in _READ else None


@lru_cache(maxsize=4_096)
def type_told(name: str) -> tuple[str | None, bool]:
    """The type that a name speaks of, None where it is like none; and whether that is in doubt, for the name
    has not the same letters as a type's, in whatever case, script and company."""
    if name in RESOURCE_TYPES or name in _READ:
        return name, False
    letters = folded(name)
    if letters in _FOLDED:
        return _FOLDED[letters], False
    found = get_close_matches(letters, _FOLDED, n=1, cutoff=_NEAR)
    return (_FOLDED[found[0]] if found else None), True

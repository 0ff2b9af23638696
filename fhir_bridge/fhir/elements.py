"""The elements that FHIR has, STU3 to R5, of the types that say whether anybody may be called, and of what
these are made of.

A view knows only what is read, and passes over the rest. In these types a name that no version has is looked
at more closely (mapping, section 16): it may be a misspelt one that keeps somebody out.
"""

from __future__ import annotations

_ELEMENT = "id extension fhir_comments"
_BACKBONE = f"{_ELEMENT} modifierExtension"
_RESOURCE = f"{_BACKBONE} contained implicitRules language meta text"

_ORDER = (
    f"{_RESOURCE} authoredOn basedOn context definition identifier intent note occurrenceDateTime "
    "occurrencePeriod occurrenceTiming priority reasonCode reasonReference replaces requester status "
    "subject supportingInfo"
)

_PROCEDURE = (
    f"{_ORDER} asNeededBoolean asNeededCodeableConcept bodySite category code doNotPerform performer "
    "performerType relevantHistory requisition specimen"
)

_VALUES = (
    "Address Age Annotation Attachment Availability Base64Binary Boolean Canonical Code CodeableConcept "
    "CodeableReference Coding ContactDetail ContactPoint Contributor Count DataRequirement Date DateTime "
    "Decimal Distance Dosage Duration Expression ExtendedContactDetail HumanName Id Identifier Instant "
    "Integer Integer64 Markdown Meta Money Oid ParameterDefinition Period PositiveInt Quantity Range "
    "Ratio RatioRange Reference RelatedArtifact SampledData Signature String Time Timing "
    "TriggerDefinition UnsignedInt Uri Url UsageContext Uuid"
)

_MEDPLUM = "account accounts author compartment onBehalfOf project"
"""What one server writes into the `meta` of all it gives (https://www.medplum.com/docs/fhir/basics)."""

_NAMES = {
    "Address": f"{_ELEMENT} city country district line period postalCode state text type use",
    "Annotation": f"{_ELEMENT} authorReference authorString text time",
    "Appointment": (
        f"{_RESOURCE} account appointmentType basedOn cancelationReason cancellationDate "
        "cancellationReason class comment created description end identifier incomingReferral indication "
        "minutesDuration note occurrenceChanged originatingAppointment participant patientInstruction "
        "previousAppointment priority reason reasonCode reasonReference recurrenceId recurrenceTemplate "
        "replaces requestedPeriod serviceCategory serviceType slot specialty start status subject "
        "supportingInformation type virtualService"
    ),
    "AppointmentParticipant": f"{_BACKBONE} actor period required status type",
    "CodeableConcept": f"{_ELEMENT} coding text",
    "CodeableReference": f"{_ELEMENT} concept reference",
    "Coding": f"{_ELEMENT} code display system userSelected version",
    "Consent": (
        f"{_RESOURCE} action actor category consentingParty controller data dataPeriod date dateTime "
        "decision except grantee grantor identifier manager organization patient performer period policy "
        "policyBasis policyRule policyText provision purpose regulatoryBasis scope securityLabel "
        "sourceAttachment sourceIdentifier sourceReference status subject verification"
    ),
    "ConsentProvision": (
        f"{_BACKBONE} action actor class code data dataPeriod documentType expression period provision "
        "purpose securityLabel type"
    ),
    "ContactPoint": f"{_ELEMENT} period rank system use value",
    "Extension": f"{_ELEMENT} url " + " ".join(f"value{name}" for name in _VALUES.split()),
    "HumanName": f"{_ELEMENT} family given period prefix suffix text use",
    "Identifier": f"{_ELEMENT} assigner period system type use value",
    "Meta": f"{_ELEMENT} lastUpdated profile security source tag versionId {_MEDPLUM}",
    "Patient": (
        f"{_RESOURCE} active address animal birthDate careProvider communication contact deceasedBoolean "
        "deceasedDateTime gender generalPractitioner identifier link managingOrganization maritalStatus "
        "multipleBirthBoolean multipleBirthInteger name photo telecom"
    ),
    "PatientContact": f"{_BACKBONE} address gender name organization period relationship telecom",
    "PatientLink": f"{_BACKBONE} other type",
    "Period": f"{_ELEMENT} end start",
    "ProcedureRequest": _PROCEDURE,
    "Reference": f"{_ELEMENT} display identifier reference type",
    "ReferralRequest": (
        f"{_ORDER} date dateSent description encounter fulfillmentTime groupIdentifier patient reason "
        "recipient relevantHistory serviceRequested specialty supportingInformation type"
    ),
    "RelatedPerson": (
        f"{_RESOURCE} active address birthDate communication gender identifier name patient period photo "
        "relationship telecom"
    ),
    "ServiceRequest": (
        f"{_PROCEDURE} bodyStructure encounter focus instantiatesCanonical instantiatesUri insurance "
        "location locationCode locationReference orderDetail patientInstruction quantityQuantity "
        "quantityRange quantityRatio reason"
    ),
    "Timing": f"{_BACKBONE} code event repeat",
    "TimingRepeat": (
        f"{_ELEMENT} boundsDuration boundsPeriod boundsRange count countMax dayOfWeek duration "
        "durationMax durationUnit frequency frequencyMax offset period periodMax periodUnit timeOfDay "
        "when"
    ),
}

ELEMENTS = {name: frozenset(names.split()) for name, names in _NAMES.items()}
"""Type → the names of its elements."""
